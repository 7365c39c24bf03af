"""What compression does to a pair is computed from the codec itself, level by level."""

import json

import numpy as np
import pytest

from tests.index import made
from xm.errors import XmError
from xm.index.codec import Codec, decode, encode, reconstruction_error, train_codecs
from xm.index.compare import BitsComparison, codecs_like, codecs_of, compare_bits
from xm.maxsim import maxsim
from xm.options import CodecOptions

PASSAGES = made.clustered(n_passages=60, longest=12)
QUERY = made.query_like(PASSAGES[8], noise=0.3)


@pytest.fixture(scope="module")
def codecs() -> dict[int, Codec]:
    return train_codecs(np.concatenate(PASSAGES), options=CodecOptions(n_centroids=12))


@pytest.fixture(scope="module")
def compared(codecs: dict[int, Codec]) -> BitsComparison:
    return compare_bits(codecs, QUERY, PASSAGES, place=5)


def test_codecs_of_all_bits_share_their_centroids(codecs: dict[int, Codec]) -> None:
    assert sorted(codecs) == [1, 2, 4, 8]
    assert all(codec.centroids is codecs[1].centroids for codec in codecs.values())


def test_each_row_is_maxsim_at_its_precision(codecs: dict[int, Codec], compared: BitsComparison) -> None:
    assert [row.name for row in compared.rows] == ["exact", "centroids", "1 bit", "2 bits", "4 bits", "8 bits"]
    versions = [PASSAGES, [codecs[1].centroids[encode(codecs[1], v).centroid_ids] for v in PASSAGES]]
    versions += [[decode(codec, encode(codec, v)) for v in PASSAGES] for codec in codecs.values()]
    for row, vectors in zip(compared.rows, versions, strict=True):
        cells = QUERY @ vectors[5].T
        assert row.winners == tuple(cells.argmax(axis=1).tolist())
        assert row.similarities == pytest.approx(cells.max(axis=1))
        assert row.score == pytest.approx(sum(row.similarities), abs=1e-5)
        scores = [maxsim(QUERY, v) for v in vectors]
        assert row.rank == 1 + sum(score > scores[5] for score in scores)
        assert row.changed == tuple(a != b for a, b in zip(row.winners, compared.rows[0].winners, strict=True))


def test_more_bits_come_nearer_to_the_exact_score(compared: BitsComparison) -> None:
    exact, *rows = compared.rows
    errors = [np.abs(np.subtract(row.similarities, exact.similarities)).mean() for row in rows]
    assert errors[-1] < 0.01
    assert errors[-1] < errors[-2] < errors[0]
    assert not any(exact.changed)
    assert any(rows[0].changed)
    assert compared.rank_changed[0] is False


def test_a_winner_that_changes_worked_by_hand() -> None:
    # Two tokens at one centroid: exactly the second wins, by centroids alone they tie and the first one does.
    codec = Codec(
        np.eye(8, dtype=np.float32)[:1],
        np.array([0], np.float32),
        np.array([-0.1, 0.1], np.float32),
        1,
    )
    passage = np.zeros((2, 8), np.float32)
    passage[0, :2], passage[1, :2] = (0.8, -0.6), (0.8, 0.6)
    query = np.zeros((1, 8), np.float32)
    query[0, :2] = (0.8, 0.6)
    exact, centroids, bit = compare_bits({1: codec}, query, [passage], place=0).rows
    assert (exact.winners, centroids.winners, bit.winners) == ((1,), (0,), (1,))
    assert (exact.changed, centroids.changed, bit.changed) == ((False,), (True,), (False,))
    assert (exact.score, centroids.score) == pytest.approx((1.0, 0.8))
    # Decoded (0.9, 0.1, -0.1 six times), of norm sqrt(0.81 + 7 * 0.01): (0.9 * 0.8 + 0.1 * 0.6) / norm.
    assert bit.score == pytest.approx(0.78 / 0.88**0.5)


def test_a_comparison_is_ready_for_json(compared: BitsComparison) -> None:
    assert json.loads(json.dumps(compared.to_dict()))["n_passages"] == 60


@pytest.mark.parametrize("place", [-1, 60])
def test_a_place_outside_the_passages_is_an_error(codecs: dict[int, Codec], place: int) -> None:
    with pytest.raises(XmError, match="a place below 60"):
        compare_bits(codecs, QUERY, PASSAGES, place=place)
    with pytest.raises(XmError, match="0 codecs"):
        compare_bits({}, QUERY, PASSAGES, place=0)


def test_a_codecs_own_centroids_get_buckets_of_every_number_of_bits(codecs: dict[int, Codec]) -> None:
    # On all embeddings the quantiles are nearly those of the held-out ones: 8 bits lose least, 1 bit most.
    vectors = np.concatenate(PASSAGES)
    found = codecs_like(codecs[4], vectors)
    assert sorted(found) == [1, 2, 4, 8]
    assert found[4] is codecs[4]
    assert all(codec.centroids is codecs[4].centroids for codec in found.values())
    errors = [reconstruction_error(found[n_bits], vectors)["residual"] for n_bits in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    residuals = vectors - codecs[4].centroids[(vectors @ codecs[4].centroids.T).argmax(axis=1)]
    np.testing.assert_allclose(found[1].cutoffs, [np.median(residuals)], atol=1e-6)
    np.testing.assert_allclose(found[1].weights, np.quantile(residuals, [0.25, 0.75]), atol=1e-6)


def test_bits_that_fill_no_whole_bytes_are_left_out() -> None:
    vectors = made.unit(np.random.default_rng(0).standard_normal((50, 6)))
    assert sorted(codecs_of(vectors)) == [4, 8]
