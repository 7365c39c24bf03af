"""Fusing two or more rankings of one query into one: by rank, or by normalised score.

Leaves out: learning the weights. Fused hits say `exact=False`: their score is no longer MaxSim.
"""

import math
from collections.abc import Sequence

from xm.errors import XmError
from xm.types import Hit

RRF_K = 60  # Cormack, Clarke & Büttcher 2009: "k = 60 was fixed during a pilot investigation"


def fuse_ranks(rankings: Sequence[Sequence[Hit]], *, k: int, rrf_k: int = RRF_K) -> tuple[Hit, ...]:
    """Reciprocal rank fusion: a passage scores the sum of 1 / (rrf_k + rank) over the rankings that hold it.

    Args:
        rankings: one ranking a method, each hit with its rank from 1.
        k: how many hits to return at most.
        rrf_k: damps the first ranks; Cormack, Clarke & Büttcher 2009, section 2.

    Returns:
        Hits by falling score, ties by passage id.
    """
    _check(k, rrf_k)
    scores: dict[str, float] = {}
    for ranking in rankings:
        for hit in ranking:
            scores[hit.passage_id] = scores.get(hit.passage_id, 0.0) + 1.0 / (rrf_k + hit.rank)
    return _ranked(scores, k)


def fuse_scores(
    rankings: Sequence[Sequence[Hit]], *, k: int, weights: Sequence[float] | None = None
) -> tuple[Hit, ...]:
    """Weighted sum of scores, each ranking first stretched to [0, 1] by its own lowest and highest score.

    A passage that a ranking does not hold gets 0 from it, as its last one does; a ranking whose scores are all
    equal gives 1 to each.

    Args:
        rankings: one ranking a method.
        k: how many hits to return at most.
        weights: one a ranking, 0 or more, not all 0; divided by their sum, so that scores lie in [0, 1]. None: equal.

    Returns:
        Hits by falling score, ties by passage id.

    Raises:
        XmError: the weights do not fit the rankings.
    """
    _check(k)
    weights = [1.0] * len(rankings) if weights is None else list(weights)
    fit = all(math.isfinite(weight) and weight >= 0 for weight in weights) and (sum(weights) > 0 or not weights)
    if len(weights) != len(rankings) or not fit:
        raise XmError(f"fusing {len(rankings)} rankings needs as many weights, 0 or more and not all 0; got {weights}")
    scores: dict[str, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for passage_id, score in _stretch(ranking).items():
            scores[passage_id] = scores.get(passage_id, 0.0) + score * weight / sum(weights)
    return _ranked(scores, k)


def _stretch(ranking: Sequence[Hit]) -> dict[str, float]:
    """Min-max normalisation: the lowest score of a ranking becomes 0, its highest 1."""
    if not ranking:
        return {}
    scores = [hit.score for hit in ranking]
    low, high = min(scores), max(scores)
    if high == low:
        return {hit.passage_id: 1.0 for hit in ranking}
    return {hit.passage_id: (hit.score - low) / (high - low) for hit in ranking}


def _check(k: int, rrf_k: int = 0) -> None:
    """Raise where a count cannot be one."""
    if k < 1 or rrf_k < 0:
        raise ValueError(f"k must be at least 1 and rrf_k at least 0; got {k} and {rrf_k}")


def _ranked(scores: dict[str, float], k: int) -> tuple[Hit, ...]:
    """Turn scores into the first k hits."""
    order = sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))
    return tuple(Hit(passage_id, scores[passage_id], rank, False) for rank, passage_id in enumerate(order[:k], 1))
