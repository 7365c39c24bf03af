"""Measures of a run against judgements, computed by ir_measures (trec_eval's and MS MARCO's own code).

Leaves out: reading files (xm.evaluation.trec) and making runs (xm.evaluation.compare).
"""

import difflib
import re
from collections.abc import Mapping, Sequence

import ir_measures

from xm.errors import XmError
from xm.types import Hit

# What a name before "@k" stands for in ir_measures; there, MRR is the mean over queries of RR.
_FAMILIES = {
    "MRR": ir_measures.RR,
    "RR": ir_measures.RR,
    "R": ir_measures.R,
    "nDCG": ir_measures.nDCG,
    "Success": ir_measures.Success,
    "P": ir_measures.P,
    "AP": ir_measures.AP,
    "MAP": ir_measures.AP,
}
_NAME = re.compile(r"([A-Za-z]+)@([1-9][0-9]{0,6})")


def find_measure(name: str) -> ir_measures.Measure:
    """Find a measure by name: MRR@k, RR@k, R@k, nDCG@k, Success@k, P@k, AP@k or MAP@k, k from 1.

    Raises:
        XmError: there is no such measure; the message lists those there are.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _FAMILIES:
        by_lower = {family.lower(): family for family in _FAMILIES}
        near = difflib.get_close_matches(name.split("@")[0].lower(), by_lower, n=1)
        hint = f" Did you mean {by_lower[near[0]]}@{match[2] if match else 10}?" if near else ""
        raise XmError(f"unknown measure {name!r}; expected one of {', '.join(_FAMILIES)} with @k, k from 1.{hint}")
    return _FAMILIES[match[1]] @ int(match[2])


def cutoff_of(name: str) -> int:
    """Return the k of a measure's name: how many hits of a query it looks at."""
    return find_measure(name)["cutoff"]


def score_run(
    run: Mapping[str, Sequence[Hit]], qrels: Mapping[str, Mapping[str, int]], *, measures: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Measure every judged query of a run; the order of its hits counts, not their scores.

    Args:
        run: hits per query id, in their order. A judged query without hits scores 0.
        qrels: relevance per query id and passage id. Relevant is 1 or more; nDCG takes the relevance as gain.
        measures: names as in `find_measure`.

    Returns:
        Name of the measure -> query id -> value, 0 to 1, for every query of `qrels`.

    Raises:
        XmError: a measure is unknown.
    """
    wanted = {name: find_measure(name) for name in measures}
    # Scores that fall by one a rank: the libraries behind ir_measures break ties in two opposite ways and compare in
    # single precision, where scores that differ may tie.
    order = [
        ir_measures.ScoredDoc(query_id, hit.passage_id, -float(place))
        for query_id, hits in run.items()
        if query_id in qrels
        for place, hit in enumerate(hits)
    ]
    judged = [
        ir_measures.Qrel(query_id, passage_id, relevance)
        for query_id, judgements in qrels.items()
        for passage_id, relevance in judgements.items()
    ]
    found: dict[ir_measures.Measure, dict[str, float]] = {measure: {} for measure in wanted.values()}
    for metric in ir_measures.iter_calc(list(found), judged, order):
        found[metric.measure][metric.query_id] = float(metric.value)
    return {name: found[measure] for name, measure in wanted.items()}


def mean_scores(scores: Mapping[str, Mapping[str, float]], query_ids: Sequence[str]) -> dict[str, float]:
    """Average each measure over the given queries (at least one), all of which `scores` must hold."""
    if not query_ids:
        raise ValueError("a mean needs at least one query")
    return {name: sum(by_query[i] for i in query_ids) / len(query_ids) for name, by_query in scores.items()}
