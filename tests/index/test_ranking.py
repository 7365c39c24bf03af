"""Scores become hits by the very float of each alignment, and queries that do not fit are refused."""

import numpy as np
import pytest

from tests.index import made
from xm.errors import XmError
from xm.index.ranking import check_k, check_query, rank_hits
from xm.maxsim import maxsim

PASSAGES = made.clustered(n_passages=30)
QUERY = made.query_like(PASSAGES[4])


def read(place: int) -> tuple[str, np.ndarray]:
    return f"p{place}", PASSAGES[place]


@pytest.mark.parametrize("k", [1, 7, 30, 99])
@pytest.mark.parametrize("exact", [True, False])
def test_hits_come_by_their_own_score_whatever_the_last_bits_of_the_scores(k: int, exact: bool) -> None:
    right = np.array([maxsim(QUERY, vectors) for vectors in PASSAGES])
    rounded = right + np.random.default_rng(0).uniform(-4e-5, 4e-5, len(right))
    hits = rank_hits(QUERY, rounded, k, read=read, exact=exact)
    slow = sorted(range(30), key=lambda place: -right[place])[:k]
    assert [(hit.passage_id, hit.score, hit.rank) for hit in hits] == [
        (f"p{place}", right[place], rank) for rank, place in enumerate(slow, start=1)
    ]
    assert {hit.exact for hit in hits} == {exact}


def test_equal_scores_worked_by_hand() -> None:
    # Scores 1, 1, 0 and the ids b, a, c: a before b by its id; the third is not read for two hits.
    vectors = {0: ("b", [1.0, 0.0]), 1: ("a", [1.0, 0.0]), 2: ("c", [0.0, 1.0])}
    seen = []

    def note(place: int) -> tuple[str, np.ndarray]:
        seen.append(place)
        return vectors[place][0], np.array([vectors[place][1]], np.float32)

    hits = rank_hits(np.array([[1.0, 0.0]], np.float32), np.array([1.0, 1.0, 0.0]), 2, read=note, exact=True)
    assert [(hit.passage_id, hit.score) for hit in hits] == [("a", 1.0), ("b", 1.0)]
    assert seen == [0, 1]


def test_what_rounding_put_behind_the_last_hit_is_a_hit_all_the_same() -> None:
    # The better passage, q, was scored 0.00005 too low.
    vectors = {0: ("p", [0.8, 0.6]), 1: ("q", [0.80002, 0.6])}
    hits = rank_hits(
        np.array([[1.0, 0.0]], np.float32),
        np.array([0.8, 0.79997]),
        1,
        read=lambda place: (vectors[place][0], np.array([vectors[place][1]], np.float32)),
        exact=True,
    )
    assert [hit.passage_id for hit in hits] == ["q"]


def test_no_score_gives_no_hit() -> None:
    assert rank_hits(QUERY, np.empty(0), 5, read=read, exact=True) == ()


@pytest.mark.parametrize("query", [np.ones(16), np.ones((2, 8)), np.ones((0, 16)), np.full((2, 16), np.inf)])
def test_a_query_that_does_not_fit_is_an_error(query: np.ndarray) -> None:
    check_query(np.ones((1, 16)), dim=16, model="m")
    with pytest.raises(XmError, match="encode the query"):
        check_query(query, dim=16, model="m")


def test_no_hit_may_be_asked_for() -> None:
    check_k(1)
    with pytest.raises(XmError, match="k is 0; ask for at least 1 hit"):
        check_k(0)
