"""The residual codec of ColBERTv2: a token embedding as its nearest centroid and a few bits a number for the rest.

Santhanam et al. 2022, section 3.3. Bits are packed as colbert-ai packs them, so that its indexes can be read.
Leaves out: k-means itself (xm.index.kmeans), search (xm.index.centroid).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xm.errors import XmError
from xm.options import CodecOptions
from xm.types import Codes

N_BITS = (1, 2, 4, 8)  # those that fill bytes without a rest
_BLOCK_CELLS = 8_388_608  # cosines computed at once when tokens are assigned: 32 MB
_BLOCK_TOKENS = 65_536  # tokens whose residuals are computed at once: 32 MB at 128 dimensions
_MAX_HELD_OUT = 50_000  # colbert-ai's: enough for quantiles
_HELD_OUT_SHARE = 0.05  # colbert-ai's
_MAX_CENTROIDS = 2**14  # unless more are asked for: CodecOptions says what that saves and costs


@dataclass(frozen=True, eq=False)
class Codec:
    """What turns token embeddings into codes and back. Make one with `train_codec`.

    centroids: (n_centroids, dim) float32, unit rows. cutoffs: (2**n_bits - 1,) float32, rising; a residual's number
    between two of them falls in one bucket. weights: (2**n_bits,) float32, what each bucket is decoded to.

    Raises:
        XmError: the arrays do not fit each other or n_bits, or a token would not fill whole bytes.
    """

    centroids: np.ndarray
    cutoffs: np.ndarray
    weights: np.ndarray
    n_bits: int

    def __post_init__(self) -> None:
        check_bits(self.n_bits, self.centroids.shape[-1])
        shapes = (self.cutoffs.shape, self.weights.shape)
        if self.centroids.ndim != 2 or shapes != ((2**self.n_bits - 1,), (2**self.n_bits,)):
            raise XmError(
                f"a codec of {self.n_bits} bits needs centroids (n_centroids, dim), {2**self.n_bits - 1} cutoffs and "
                f"{2**self.n_bits} weights; got shapes {self.centroids.shape}, {shapes[0]} and {shapes[1]}"
            )

    @property
    def n_centroids(self) -> int:
        """Centroids."""
        return len(self.centroids)

    @property
    def dim(self) -> int:
        """Numbers in a token embedding."""
        return self.centroids.shape[1]

    @property
    def bits_per_token(self) -> int:
        """n_bits * dim + ceil(log2 n_centroids): ColBERTv2, section 3.3. Stored ids take 16 or 32 bits."""
        return self.n_bits * self.dim + (self.n_centroids - 1).bit_length()

    @cached_property
    def byte_weights(self) -> np.ndarray:
        """(256, 8 / n_bits) float32: the numbers that each value of a residual's byte stands for."""
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(256, -1, self.n_bits)
        return self.weights.astype(np.float32)[(bits << np.arange(self.n_bits)).sum(axis=-1)]


def check_bits(n_bits: int, dim: int) -> None:
    """Refuse, with an XmError, bits that are not offered or do not fill whole bytes."""
    if n_bits not in N_BITS:
        raise XmError(f"n_bits is {n_bits}; choose one of {', '.join(map(str, N_BITS))}")
    if dim * n_bits % 8:
        raise XmError(f"{dim} dimensions of {n_bits} bits fill no whole bytes; choose {8 // np.gcd(dim, 8)} bits")


def count_of_centroids(n_tokens: int) -> int:
    """Return how many centroids ColBERTv2 takes: 2 ** floor(log2(16 * sqrt(n_tokens))), colbert-ai 0.2.22."""
    return 2 ** int(np.floor(np.log2(16 * np.sqrt(n_tokens))))


def train_codec(vectors: np.ndarray, *, options: CodecOptions = CodecOptions()) -> Codec:
    """Find centroids by k-means on a sample, and the buckets as quantiles of the residuals of held-out tokens.

    Args:
        vectors: (n_tokens, dim) float, unit rows; only the sample is read.
        options: n_centroids is clipped to the tokens that are left for training.

    Raises:
        XmError: there is no token, or the options ask for what cannot be.
    """
    return train_codecs(vectors, options=options, all_bits=(options.n_bits,))[options.n_bits]


def train_codecs(
    vectors: np.ndarray, *, options: CodecOptions = CodecOptions(), all_bits: Sequence[int] = N_BITS
) -> dict[int, Codec]:
    """Train codecs that share their centroids and differ in bits, as `train_codec` trains one; by n_bits."""
    # faiss takes a quarter of a second to load, and an index that is only searched does not need it.
    from xm.index.kmeans import spherical_kmeans

    _check_vectors(vectors)
    for n_bits in all_bits:
        check_bits(n_bits, vectors.shape[1])
    wanted = options.n_centroids
    if wanted is None:
        wanted = min(count_of_centroids(len(vectors)), _MAX_CENTROIDS)
    if min(wanted, options.n_iter, options.n_sample_per_centroid) < 1:
        raise XmError(f"n_centroids, n_iter and n_sample_per_centroid must be 1 or more; got {options}")
    train, held_out = _sample(vectors, wanted * options.n_sample_per_centroid, options.seed)
    centroids = spherical_kmeans(train, min(wanted, len(train)), n_iter=options.n_iter, seed=options.seed)
    residuals = held_out - centroids[nearest_centroids(centroids, held_out)]
    return {n_bits: codec_of(centroids, residuals, n_bits) for n_bits in all_bits}


def encode(codec: Codec, vectors: np.ndarray) -> Codes:
    """Compress token embeddings.

    Args:
        codec: trained for their model.
        vectors: (n_tokens, dim) float, unit rows.
    """
    _check_vectors(vectors, dim=codec.dim)
    ids = np.empty(len(vectors), dtype=id_type(codec.n_centroids))
    packed = np.empty((len(vectors), codec.dim * codec.n_bits // 8), dtype=np.uint8)
    for first in range(0, len(vectors), _BLOCK_TOKENS):
        rows = slice(first, first + _BLOCK_TOKENS)
        block = np.asarray(vectors[rows], dtype=np.float32)
        ids[rows] = nearest_centroids(codec.centroids, block)
        packed[rows] = _pack(_bucketise(block - codec.centroids[ids[rows]], codec.cutoffs), codec.n_bits)
    return Codes(centroid_ids=ids, residuals=packed)


def decode(codec: Codec, codes: Codes) -> np.ndarray:
    """Give back token embeddings: (n_tokens, dim) float32, centroid plus bucket weights, scaled to unit rows."""
    summed, norms = decode_sums(codec, codes.centroid_ids, codes.residuals)
    return np.divide(summed, norms[:, None], out=summed)


def decode_sums(codec: Codec, centroid_ids: np.ndarray, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centroid plus bucket weights, (n_tokens, dim) float32, and the rows' norms, (n_tokens,) float32."""
    summed = np.take(codec.byte_weights, residuals, axis=0).reshape(len(residuals), codec.dim)
    summed += np.take(codec.centroids, centroid_ids, axis=0)
    norms = np.sqrt(np.einsum("ij,ij->i", summed, summed))
    # A sum of nothing but zeros stays zero, as in colbert-ai.
    return summed, np.maximum(norms, np.float32(1e-12))


def nearest_centroids(centroids: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the centroid of highest cosine for each vector, (n_tokens,) int64; the first one on a tie."""
    n_rows = max(1, _BLOCK_CELLS // len(centroids))
    found = [(vectors[first : first + n_rows] @ centroids.T).argmax(axis=1) for first in range(0, len(vectors), n_rows)]
    return np.concatenate(found)


def reconstruction_error(codec: Codec, vectors: np.ndarray) -> dict[str, float]:
    """Say what compression costs: mean cosine of vectors with their decoded selves, mean |residual| that is left.

    Args:
        codec: the codec.
        vectors: (n_tokens, dim) float, unit rows; a sample will do.
    """
    decoded = decode(codec, encode(codec, vectors))
    cosines = np.einsum("ij,ij->i", decoded, vectors)
    return {"cosine": float(cosines.mean(dtype=np.float64)), "residual": float(np.abs(vectors - decoded).mean())}


def id_type(n_centroids: int) -> type[np.unsignedinteger] | type[np.signedinteger]:
    """Return the type that holds the centroids' ids: two bytes a token instead of four wherever they suffice."""
    return np.uint16 if n_centroids <= 2**16 else np.int32


def _sample(vectors: np.ndarray, n_wanted: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw up to n_wanted tokens to train on, and others held out for the quantiles; a lone token serves as both."""
    n_tokens = len(vectors)
    n_held_out = min(_MAX_HELD_OUT, int(np.ceil(_HELD_OUT_SHARE * n_tokens)))
    n_train = min(n_wanted, max(1, n_tokens - n_held_out))
    order = np.random.default_rng(seed).permutation(n_tokens)
    train, held_out = np.sort(order[:n_train]), np.sort(order[-n_held_out:])
    return np.asarray(vectors[train], dtype=np.float32), np.asarray(vectors[held_out], dtype=np.float32)


def codec_of(centroids: np.ndarray, residuals: np.ndarray, n_bits: int) -> Codec:
    """Cut the residuals' numbers into buckets of equal weight, each decoded to its median (ColBERTv2, section 3.3)."""
    n_buckets = 2**n_bits
    quantiles = np.quantile(residuals, np.arange(2 * n_buckets) / (2 * n_buckets)).astype(np.float32)
    return Codec(centroids=centroids, cutoffs=quantiles[2::2], weights=quantiles[1::2], n_bits=n_bits)


def _bucketise(residuals: np.ndarray, cutoffs: np.ndarray) -> np.ndarray:
    """Return each number's bucket, (n_tokens, dim) uint8: how many cutoffs lie below it."""
    if len(cutoffs) > 15:
        return np.searchsorted(cutoffs, residuals, side="left").astype(np.uint8)
    buckets = np.zeros(residuals.shape, dtype=np.uint8)
    for cutoff in cutoffs:  # three times faster than a search in so few
        buckets += residuals > cutoff
    return buckets


def _pack(buckets: np.ndarray, n_bits: int) -> np.ndarray:
    """Write buckets bit after bit, a bucket's lowest bit first, a byte's highest bit first: colbert-ai's order."""
    bits = (buckets[:, :, None] >> np.arange(n_bits, dtype=np.uint8)) & 1
    return np.packbits(bits.reshape(len(buckets), -1), axis=1)


def _check_vectors(vectors: np.ndarray, *, dim: int | None = None) -> None:
    """Refuse what are no token embeddings."""
    if vectors.ndim != 2 or len(vectors) == 0 or (dim is not None and vectors.shape[1] != dim):
        raise XmError(f"expected token embeddings (n_tokens, {dim or 'dim'}), one or more; got {vectors.shape}")
