"""Measures: by hand, against slow twins, and the names they go by."""

import math
import random

import pytest

from xm.errors import XmError
from xm.evaluation.measures import cutoff_of, find_measure, mean_scores, score_run
from xm.types import Hit

ALL = ("MRR@10", "R@100", "nDCG@10", "Success@5", "P@5", "AP@100")


def hits_of(*passage_ids: str, score: float = 1.0) -> tuple[Hit, ...]:
    return tuple(Hit(passage_id, score, rank) for rank, passage_id in enumerate(passage_ids, 1))


def slow_scores(order: list[str], grades: dict[str, int], k: int) -> dict[str, float]:
    """Each measure from its definition."""
    relevant = {name for name, grade in grades.items() if grade > 0}
    places = [place for place, name in enumerate(order[:k], 1) if name in relevant]
    gain = sum(max(grades.get(name, 0), 0) / math.log2(place + 1) for place, name in enumerate(order[:k], 1))
    ideal = sorted((max(grade, 0) for grade in grades.values()), reverse=True)[:k]
    best = sum(grade / math.log2(place + 1) for place, grade in enumerate(ideal, 1))
    return {
        f"MRR@{k}": 1 / places[0] if places else 0.0,
        f"R@{k}": len(places) / len(relevant) if relevant else 0.0,
        f"nDCG@{k}": gain / best if best else 0.0,
        f"Success@{k}": float(bool(places)),
        f"P@{k}": len(places) / k,
        f"AP@{k}": sum(n / place for n, place in enumerate(places, 1)) / len(relevant) if relevant else 0.0,
    }


def test_measures_worked_by_hand():
    # The one relevant passage of q1 is third; q2 has two, of grades 2 and 1, at ranks 2 and 1.
    run = {"q1": hits_of("a", "b", "c"), "q2": hits_of("x", "y", "z")}
    qrels = {"q1": {"c": 1, "a": 0}, "q2": {"y": 2, "x": 1}}
    scores = score_run(run, qrels, measures=("MRR@10", "MRR@2", "R@1", "nDCG@10", "Success@1"))
    log3 = math.log2(3)
    expected = {
        "MRR@10": {"q1": 1 / 3, "q2": 1.0},
        "MRR@2": {"q1": 0.0, "q2": 1.0},
        "R@1": {"q1": 0.0, "q2": 0.5},
        "nDCG@10": {"q1": 0.5, "q2": (1 + 2 / log3) / (2 + 1 / log3)},
        "Success@1": {"q1": 0.0, "q2": 1.0},
    }
    assert list(scores) == list(expected)
    for name, by_query in expected.items():
        assert scores[name] == pytest.approx(by_query, abs=1e-9)
    assert mean_scores(scores, ["q1", "q2"])["MRR@10"] == pytest.approx(2 / 3)
    assert mean_scores(scores, ["q2"])["R@1"] == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(10))
def test_measures_equal_their_slow_definitions(seed):
    rng = random.Random(seed)
    names = [f"p{number}" for number in range(15)]
    k = rng.choice([1, 3, 10])
    grades = {name: rng.choice([-1, 0, 1, 2, 3]) for name in rng.sample(names, 8)}
    order = rng.sample(names, rng.randint(1, 15))
    expected = slow_scores(order, grades, k)
    scores = score_run({"q": hits_of(*order)}, {"q": grades}, measures=tuple(expected))
    assert {name: by_query["q"] for name, by_query in scores.items()} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["MRR@10", "nDCG@10", "P@1", "AP@10"])
def test_the_order_of_the_hits_counts_even_where_their_scores_tie(name):
    # In double precision, in single precision and at a tie alike: the first hit is the first.
    for first, second in (("a", "b"), ("b", "a")):
        run = {"q": (Hit(first, 20.0 + 1e-9, 1), Hit(second, 20.0, 2))}
        assert score_run(run, {"q": {first: 1}}, measures=(name,))[name]["q"] == pytest.approx(1.0)


def test_a_judged_query_without_hits_scores_zero_and_an_unjudged_one_is_left_out():
    scores = score_run({"q2": hits_of("a"), "q3": ()}, {"q1": {"a": 1}, "q3": {"a": 1}}, measures=ALL)
    assert all(by_query == {"q1": 0.0, "q3": 0.0} for by_query in scores.values())


def test_two_names_of_one_measure_are_both_answered():
    scores = score_run({"q": hits_of("a", "b")}, {"q": {"b": 1}}, measures=("MRR@10", "RR@10"))
    assert scores == {"MRR@10": {"q": 0.5}, "RR@10": {"q": 0.5}}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mrr@10", "MRR@10"), ("NDCG@5", "nDCG@5"), ("sucess@3", "Success@3"), ("MRR", "MRR@10"), ("MRR@0", "MRR@10")],
)
def test_an_unknown_measure_lists_those_there_are_and_the_nearest(name, hint):
    with pytest.raises(XmError, match=rf"unknown measure .*MRR, RR, R, nDCG, Success.*Did you mean {hint}\?"):
        find_measure(name)


@pytest.mark.parametrize("name", ["", "ERR@10", "MRR@x", "MRR@10@5", "MRR(rel=2)@10", "R@-1", "__import__('os')"])
def test_any_other_name_is_refused(name):
    with pytest.raises(XmError, match="unknown measure"):
        find_measure(name)


def test_the_cutoff_is_read_from_the_name():
    assert cutoff_of("nDCG@10") == 10 and cutoff_of("R@1000") == 1000


def test_a_mean_over_no_query_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        mean_scores({"MRR@10": {}}, [])
