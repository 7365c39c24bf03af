"""The codec does what ColBERTv2's does, bit by bit."""

import numpy as np
import pytest

from tests.index import made
from xm.errors import XmError
from xm.index import codec as codec_module
from xm.index.codec import (
    Codec,
    count_of_centroids,
    decode,
    encode,
    nearest_centroids,
    reconstruction_error,
    train_codec,
    train_codecs,
)
from xm.options import CodecOptions
from xm.types import Codes

BITS = (1, 2, 4, 8)


def slow_bits(codec: Codec, vectors: np.ndarray) -> list[bytes]:
    """Every bit by itself: a bucket's lowest bit first, a byte's highest first."""
    packed = []
    for vector in vectors:
        best = max(range(codec.n_centroids), key=lambda c: float(codec.centroids[c] @ vector))
        bits = ""
        for number in vector - codec.centroids[best]:
            bucket = sum(bool(number > cutoff) for cutoff in codec.cutoffs)
            bits += "".join(str(bucket >> place & 1) for place in range(codec.n_bits))
        packed.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    return packed


def test_eight_values_worked_by_hand() -> None:
    # One centroid along the first of eight axes; cutoffs -0.1, 0, 0.1; the buckets stand for -0.2, -0.05, 0.05, 0.2.
    codec = Codec(
        centroids=np.eye(8, dtype=np.float32)[:1],
        cutoffs=np.array([-0.1, 0.0, 0.1], dtype=np.float32),
        weights=np.array([-0.2, -0.05, 0.05, 0.2], dtype=np.float32),
        n_bits=2,
    )
    vector = np.array([[0.7, 0.3, -0.3, 0.02, -0.02, 0.5, -0.2, 0.0]], dtype=np.float32)
    # Residuals -0.3, 0.3, -0.3, 0.02, -0.02, 0.5, -0.2, 0: buckets 0, 3, 0, 2, 1, 3, 0, 1 (0 is not above cutoff 0).
    # Lowest bit first: 00 11 00 01, 10 11 00 10.
    codes = encode(codec, vector)
    assert codes.centroid_ids.tolist() == [0]
    assert codes.residuals.tolist() == [[0b00110001, 0b10110010]]
    # Centroid plus weights: 0.8, 0.2, -0.2, 0.05, -0.05, 0.2, -0.2, -0.05; the squares sum to 0.8075.
    expected = np.array([[0.8, 0.2, -0.2, 0.05, -0.05, 0.2, -0.2, -0.05]]) / 0.8075**0.5
    np.testing.assert_allclose(decode(codec, codes), expected, atol=1e-6)


@pytest.mark.parametrize("n_bits", BITS)
def test_encode_equals_the_slow_bits(n_bits: int) -> None:
    vectors = np.concatenate(made.clustered(n_passages=30))
    codec = train_codec(vectors, options=CodecOptions(n_bits=n_bits, n_centroids=7))
    codes = encode(codec, vectors)
    assert [row.tobytes() for row in codes.residuals] == slow_bits(codec, vectors)


@pytest.mark.parametrize("n_bits", BITS)
def test_decode_equals_the_line_of_numpy_that_reads_colbert_ais_index(n_bits: int) -> None:
    vectors = np.concatenate(made.clustered(n_passages=30))
    codec = train_codec(vectors, options=CodecOptions(n_bits=n_bits))
    codes = encode(codec, vectors)
    bits = np.unpackbits(codes.residuals, axis=1).reshape(len(vectors), codec.dim, n_bits)
    slow = codec.centroids[codes.centroid_ids] + codec.weights[(bits * (1 << np.arange(n_bits))).sum(-1)]
    np.testing.assert_allclose(decode(codec, codes), made.unit(slow), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(decode(codec, codes), axis=1), 1, atol=1e-6)


def test_more_bits_decode_nearer_and_eight_almost_exactly() -> None:
    vectors = np.concatenate(made.clustered(n_passages=300))
    errors = [reconstruction_error(codec, vectors) for codec in train_codecs(vectors).values()]
    cosines, residuals = [error["cosine"] for error in errors], [error["residual"] for error in errors]
    assert cosines == sorted(cosines)
    assert residuals == sorted(residuals, reverse=True)
    assert cosines[0] > 0.8
    assert cosines[-1] > 0.999


def test_a_residual_stays_within_its_bucket() -> None:
    vectors = np.concatenate(made.clustered(n_passages=100))
    codec = train_codec(vectors, options=CodecOptions(n_bits=4, n_centroids=9))
    assert (np.diff(codec.cutoffs) > 0).all()
    assert (codec.weights[:-1] < codec.cutoffs).all()
    assert (codec.cutoffs < codec.weights[1:]).all()


def test_bits_a_token_are_the_papers() -> None:
    # Centroids ask for ceil(log2 C) bits: none for one, 13 for 8,192, 14 for 8,193; two bytes suffice up to 65,536.
    for n_centroids, id_bits in [(1, 0), (2, 1), (8_192, 13), (8_193, 14), (65_536, 16)]:
        codec = Codec(np.ones((n_centroids, 128), np.float32), np.zeros(3, np.float32), np.zeros(4, np.float32), 2)
        assert codec.bits_per_token == 2 * 128 + id_bits


def test_stored_bytes_are_the_residuals_and_a_small_id() -> None:
    vectors = np.concatenate(made.clustered(n_passages=20, dim=128))
    codes = encode(train_codec(vectors), vectors)
    assert codes.residuals.nbytes + codes.centroid_ids.nbytes == 34 * len(vectors)


@pytest.mark.parametrize(
    ("n_tokens", "n_centroids"), [(1, 16), (1_000, 256), (10_000, 1_024), (100_000, 4_096), (1_000_000, 8_192)]
)
def test_centroids_are_counted_by_colberts_formula(n_tokens: int, n_centroids: int) -> None:
    # 16 * sqrt(1,000) = 506, whose next lower power of two is 256; the others are of the facts sheet.
    assert count_of_centroids(n_tokens) == n_centroids


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 134, 260])
def test_a_tiny_corpus_gets_no_more_centroids_than_it_carries(n_tokens: int) -> None:
    vectors = made.unit(np.random.default_rng(0).standard_normal((n_tokens, 8)))
    codec = train_codec(vectors)
    assert 1 <= codec.n_centroids <= n_tokens
    np.testing.assert_allclose(np.linalg.norm(codec.centroids, axis=1), 1, atol=1e-5)
    assert np.isfinite(decode(codec, encode(codec, vectors))).all()


def test_identical_tokens_come_back_as_they_were() -> None:
    vectors = np.tile(made.unit(np.ones((1, 8))), (500, 1))
    codec = train_codec(vectors)
    np.testing.assert_allclose(decode(codec, encode(codec, vectors)), vectors, atol=2e-3)


def test_the_same_seed_gives_the_same_codec_and_half_precision_will_do() -> None:
    vectors = np.concatenate(made.clustered(n_passages=200))
    one, other = train_codec(vectors), train_codec(vectors)
    np.testing.assert_array_equal(one.centroids, other.centroids)
    np.testing.assert_array_equal(one.weights, other.weights)
    different = train_codec(vectors, options=CodecOptions(seed=43))
    assert not np.array_equal(one.centroids, different.centroids)
    halves = encode(one, vectors.astype(np.float16))
    assert (halves.centroid_ids == encode(one, vectors).centroid_ids).mean() > 0.99


def test_blocks_do_not_change_the_nearest_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.concatenate(made.clustered(n_passages=50))
    codec = train_codec(vectors, options=CodecOptions(n_centroids=11))
    slow = [max(range(11), key=lambda c: float(codec.centroids[c] @ vector)) for vector in vectors]
    for cells, tokens in [(1, 1), (11 * 7, 13), (10**6, 10**6)]:
        monkeypatch.setattr("xm.index.codec._BLOCK_CELLS", cells)
        monkeypatch.setattr("xm.index.codec._BLOCK_TOKENS", tokens)
        assert nearest_centroids(codec.centroids, vectors).tolist() == slow
        assert encode(codec, vectors).centroid_ids.tolist() == slow


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (np.zeros((0, 8)), CodecOptions(), "one or more"),
        (np.zeros(8), CodecOptions(), "one or more"),
        (np.ones((4, 8)), CodecOptions(n_bits=3), "n_bits is 3; choose one of 1, 2, 4, 8"),
        (np.ones((4, 6)), CodecOptions(n_bits=2), "6 dimensions of 2 bits fill no whole bytes; choose 4 bits"),
        (np.ones((4, 8)), CodecOptions(n_centroids=0), "must be 1 or more"),
        (np.ones((4, 8)), CodecOptions(n_iter=0), "must be 1 or more"),
    ],
)
def test_what_cannot_be_trained_is_an_error(vectors: np.ndarray, options: CodecOptions, message: str) -> None:
    with pytest.raises(XmError, match=message):
        train_codec(vectors.astype(np.float32), options=options)


def test_a_codec_whose_parts_do_not_fit_is_an_error() -> None:
    with pytest.raises(XmError, match="3 cutoffs and 4 weights"):
        Codec(np.ones((2, 8), np.float32), np.zeros(1, np.float32), np.zeros(2, np.float32), 2)
    codec = train_codec(np.eye(8, dtype=np.float32))
    with pytest.raises(XmError, match=r"\(n_tokens, 8\)"):
        encode(codec, np.ones((3, 16), np.float32))
    with pytest.raises(ValueError, match="codes need"):
        Codes(np.zeros(3, np.uint16), np.zeros((2, 4), np.uint8))


def test_a_large_corpus_takes_fewer_centroids_than_the_formula_unless_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec_module, "_MAX_CENTROIDS", 8)
    vectors = np.concatenate(made.clustered(n_passages=40))
    assert train_codec(vectors).n_centroids == 8
    assert train_codec(vectors, options=CodecOptions(n_centroids=20)).n_centroids == 20
