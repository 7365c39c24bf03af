"""What benchmarks.xm_mini.lexical counts, on passages small enough to work out by hand."""

import math

import pytest

from benchmarks.xm_mini.lexical import Matcher, reciprocal_rank

PASSAGES = [[1, 1, 2], [2, 3], [2, 4, 5, 6]]


@pytest.fixture
def matcher() -> Matcher:
    return Matcher(PASSAGES)


def test_every_question_piece_that_is_there_counts_alike_also_when_asked_twice(matcher: Matcher) -> None:
    assert [matcher.count([1, 2, 2, 9], pieces) for pieces in matcher.passages] == [3, 2, 2]


def test_rare_pieces_weigh_more(matcher: Matcher) -> None:
    rare, common = math.log(4 / 1.5), math.log(4 / 3.5)
    assert matcher.rarity([1, 2], matcher.passages[0]) == pytest.approx(rare + common)
    assert matcher.rarity([1, 2], matcher.passages[1]) == pytest.approx(common)


def test_bm25_counts_repetitions_and_lengths(matcher: Matcher) -> None:
    room = 1.5 * (1 - 0.75 + 0.75 * 3 / 3)
    assert matcher.bm25([1], matcher.passages[0]) == pytest.approx(math.log(4 / 1.5) * 2 * (1.5 + 1) / (2 + room))
    assert matcher.bm25([2], matcher.passages[1]) > matcher.bm25([2], matcher.passages[2])


def test_the_reciprocal_rank_ends_at_ten_and_ties_go_to_the_first() -> None:
    assert reciprocal_rank([0.1, 0.5, 0.5], 2) == 1 / 2
    assert reciprocal_rank([*range(1, 12)], 0) == 0
    assert reciprocal_rank([*range(1, 11)], 0) == 1 / 10
