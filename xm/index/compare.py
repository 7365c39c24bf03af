"""What compression does to one pair: similarities exact, by centroids alone, and at 1, 2, 4 and 8 bits.

Leaves out: what it does to an index as a whole (xm.index.codec.reconstruction_error, benchmarks).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xm.errors import XmError
from xm.index.codec import N_BITS, Codec, codec_of, decode, encode, nearest_centroids, train_codecs
from xm.maxsim import maxsim, similarity


@dataclass(frozen=True)
class BitsRow:
    """A query and a passage at one precision.

    name: "exact", "centroids", "1 bit", "2 bits" and so on. similarities, winners: for each query token the cosine
    with its best passage token, and that token's place. changed: whether that is another token than exactly. score:
    the sum of the similarities. rank: of the passage among those given, from 1, ties by their order.
    """

    name: str
    similarities: tuple[float, ...]
    winners: tuple[int, ...]
    changed: tuple[bool, ...]
    score: float
    rank: int


@dataclass(frozen=True)
class BitsComparison:
    """A pair at every precision, the exact one first; n_passages is how many the rank is among."""

    rows: tuple[BitsRow, ...]
    n_passages: int

    @property
    def rank_changed(self) -> tuple[bool, ...]:
        """For each row, whether the passage ranks elsewhere than exactly."""
        return tuple(row.rank != self.rows[0].rank for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists, numbers and strings."""
        return {**asdict(self), "rank_changed": list(self.rank_changed)}


def codecs_of(vectors: np.ndarray) -> dict[int, Codec]:
    """Train codecs of all bits that fill whole bytes, by n_bits, on the embeddings (n_tokens, dim) of a flat index."""
    return train_codecs(vectors, all_bits=_bits_for(vectors.shape[1]))


def codecs_like(codec: Codec, vectors: np.ndarray) -> dict[int, Codec]:
    """Give a codec's centroids buckets of other bits too: quantiles of the residuals of `vectors`; by n_bits.

    Args:
        codec: stands in the result as it is.
        vectors: (n_tokens, dim) float32, unit rows, exact. Buckets made of few tokens flatter those very tokens.
    """
    residuals = vectors - codec.centroids[nearest_centroids(codec.centroids, vectors)]
    others = {n_bits: codec_of(codec.centroids, residuals, n_bits) for n_bits in _bits_for(codec.dim)}
    return {**others, codec.n_bits: codec}


def compare_bits(
    codecs: Mapping[int, Codec], query_vectors: np.ndarray, passages: Sequence[np.ndarray], *, place: int
) -> BitsComparison:
    """Compare a query with a passage at every precision, and rank the passage among others each time.

    Args:
        codecs: by n_bits, with the same centroids (`train_codecs`).
        query_vectors: (n_query, dim) float32, unit rows.
        passages: exact embeddings (n_tokens, dim) float32, unit rows, of the passages that are ranked: hits, say.
        place: which of them is the pair's.

    Raises:
        XmError: there is no codec, or `place` is none of the passages.
    """
    if not codecs or not 0 <= place < len(passages):
        raise XmError(f"need a codec and a place below {len(passages)}; got {len(codecs)} codecs and place {place}")
    codec = next(iter(codecs.values()))
    versions = {"exact": list(passages)}
    versions["centroids"] = [codec.centroids[encode(codec, vectors).centroid_ids] for vectors in passages]
    for n_bits, codec in sorted(codecs.items()):
        name = "1 bit" if n_bits == 1 else f"{n_bits} bits"
        versions[name] = [decode(codec, encode(codec, vectors)) for vectors in passages]
    exact_winners = similarity(query_vectors, passages[place]).argmax(axis=1)
    rows = [_row(name, query_vectors, vectors, place, exact_winners) for name, vectors in versions.items()]
    return BitsComparison(tuple(rows), len(passages))


def _row(
    name: str, query_vectors: np.ndarray, passages: Sequence[np.ndarray], place: int, exact_winners: np.ndarray
) -> BitsRow:
    """One precision."""
    cells = similarity(query_vectors, passages[place])
    winners = cells.argmax(axis=1)
    scores = np.array([maxsim(query_vectors, vectors) for vectors in passages])
    return BitsRow(
        name=name,
        similarities=tuple(cells.max(axis=1).tolist()),
        winners=tuple(winners.tolist()),
        changed=tuple((winners != exact_winners).tolist()),
        score=float(scores[place]),
        rank=1 + int((scores > scores[place]).sum()) + int((scores[:place] == scores[place]).sum()),
    )


def _bits_for(dim: int) -> list[int]:
    """The numbers of bits at which a token of `dim` numbers fills whole bytes."""
    return [n_bits for n_bits in N_BITS if dim * n_bits % 8 == 0]
