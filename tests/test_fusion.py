"""Rank fusion: both formulas by hand, and what must hold for any ranking."""

import random

import pytest

from xm.errors import XmError
from xm.fusion import fuse_ranks, fuse_scores
from xm.types import Hit


def ranking(**scores: float) -> tuple[Hit, ...]:
    order = sorted(scores, key=lambda name: -scores[name])
    return tuple(Hit(name, scores[name], rank) for rank, name in enumerate(order, 1))


def random_ranking(rng: random.Random) -> tuple[Hit, ...]:
    return ranking(**{f"p{number}": rng.uniform(-3, 30) for number in rng.sample(range(12), rng.randint(1, 12))})


def test_reciprocal_rank_fusion_worked_by_hand():
    fused = fuse_ranks([ranking(a=9.0, b=8.0), ranking(b=0.3, c=0.2)], k=10)
    assert [hit.passage_id for hit in fused] == ["b", "a", "c"]
    assert [hit.score for hit in fused] == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62], abs=1e-15)
    assert [hit.rank for hit in fused] == [1, 2, 3]
    assert not any(hit.exact for hit in fused)


def test_weighted_sum_of_stretched_scores_worked_by_hand():
    first, second = ranking(a=30.0, b=20.0, c=10.0), ranking(b=0.9, d=0.1)
    fused = fuse_scores([first, second], k=10, weights=[3, 1])
    # a: 1 x 3/4; b: 0.5 x 3/4 + 1 x 1/4; c and d: last of their ranking, so 0.
    assert {hit.passage_id: hit.score for hit in fused} == pytest.approx({"a": 0.75, "b": 0.625, "c": 0.0, "d": 0.0})
    assert [hit.passage_id for hit in fused] == ["a", "b", "c", "d"]


def test_weights_left_out_are_equal_ones():
    pair = [ranking(a=2.0, b=1.0), ranking(b=5.0, a=4.0, c=3.0)]
    assert fuse_scores(pair, k=5) == fuse_scores(pair, k=5, weights=[2, 2])


def test_a_ranking_of_equal_scores_counts_as_found():
    assert fuse_scores([ranking(a=7.0)], k=5) == (Hit("a", 1.0, 1, False),)


@pytest.mark.parametrize("seed", range(20))
def test_neither_scale_nor_shift_of_the_scores_changes_what_is_fused(seed):
    rng = random.Random(seed)
    pair = [random_ranking(rng), random_ranking(rng)]
    moved = [tuple(Hit(hit.passage_id, 5 * hit.score - 2, hit.rank) for hit in one) for one in pair]
    assert fuse_ranks(pair, k=20) == fuse_ranks(moved, k=20)
    before = {hit.passage_id: hit.score for hit in fuse_scores(pair, k=20)}
    assert {hit.passage_id: hit.score for hit in fuse_scores(moved, k=20)} == pytest.approx(before)


@pytest.mark.parametrize("fuse", [fuse_ranks, fuse_scores])
def test_fused_hits_are_sorted_ranked_from_one_and_cut_at_k(fuse):
    rng = random.Random(0)
    pair = [random_ranking(rng), random_ranking(rng)]
    hits = fuse(pair, k=4)
    assert len(hits) == 4 and [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert list(hits) == sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))
    everything = {hit.passage_id for one in pair for hit in one}
    assert {hit.passage_id for hit in fuse(pair, k=99)} == everything


@pytest.mark.parametrize("fuse", [fuse_ranks, fuse_scores])
def test_nothing_fused_is_nothing(fuse):
    assert fuse([(), ()], k=3) == () and fuse([], k=3) == ()


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")], [1, float("inf")]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(XmError, match="as many weights"):
        fuse_scores([ranking(a=1.0), ranking(b=1.0)], k=3, weights=weights)


def test_a_count_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        fuse_ranks([ranking(a=1.0)], k=0)
