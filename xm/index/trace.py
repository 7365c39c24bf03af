"""What a search over a centroid index did: centroids probed, lists read, candidates gained, scores, time per stage.

Leaves out: what became of one passage (xm.index.why), the search itself (xm.index.stages).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xm.index.centroid import CentroidIndex
from xm.index.stages import Stages
from xm.options import SearchOptions


@dataclass(frozen=True)
class ProbedCentroid:
    """A centroid near a query token: its cosine, the passages in its list, and whether PLAID's threshold left it out.

    n_listed counts live passages.
    """

    centroid_id: int
    score: float
    n_listed: int
    pruned: bool


@dataclass(frozen=True)
class TokenTrace:
    """What one query token led to.

    query_index: place in the query, from 0. centroids: by falling cosine. missing: the cosine that a candidate without
    a token in these lists gets. n_found: passages in its lists; n_gained: those no query token before it had found.
    """

    query_index: int
    centroids: tuple[ProbedCentroid, ...]
    missing: float
    n_found: int
    n_gained: int


@dataclass(frozen=True)
class StageTrace:
    """One stage: what went in and came out, counted in `unit`, and seconds."""

    name: str
    n_in: int
    n_out: int
    unit: str
    seconds: float


@dataclass(frozen=True)
class HitTrace:
    """A hit: approximate is its score by probed centroids with its rank among all candidates, score the one it has.

    by_centroids: its score by all its centroids, with its rank among the passages kept.
    """

    passage_id: str
    rank: int
    score: float
    approximate: float
    approximate_rank: int
    by_centroids: float
    by_centroids_rank: int


@dataclass(frozen=True)
class SearchTrace:
    """A search, stage by stage. centroid_ids, scores and the like are plain numbers: `to_dict` is ready for JSON."""

    options: SearchOptions
    k: int
    n_passages: int
    n_centroids: int
    tokens: tuple[TokenTrace, ...]
    stages: tuple[StageTrace, ...]
    hits: tuple[HitTrace, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists, numbers and strings."""
        return asdict(self)


def trace(
    index: CentroidIndex, query_vectors: np.ndarray, *, k: int, options: SearchOptions = SearchOptions()
) -> SearchTrace:
    """Search, and tell what each stage saw; the hits are those of `index.search` with the same arguments.

    Args:
        index: searched.
        query_vectors: (n_query, dim) float32, unit rows.
        k: hits wanted.
        options: how far to look.

    Raises:
        XmError: as `index.search`.
    """
    stages = index.stages(query_vectors, k=k, options=options)
    return SearchTrace(
        options=options,
        k=k,
        n_passages=index.n_passages,
        n_centroids=index.codec.n_centroids,
        tokens=_trace_tokens(index, stages),
        stages=_trace_stages(index, stages),
        hits=_trace_hits(index, stages),
    )


def live_passages_of(index: CentroidIndex, centroid_id: int) -> np.ndarray:
    """Return the stored places, rising, of the live passages in a centroid's list: (n,) int64."""
    places = np.concatenate([part.passages_of(centroid_id) for part in index.lists])
    return places[index.is_live[places]]


def _trace_tokens(index: CentroidIndex, stages: Stages) -> tuple[TokenTrace, ...]:
    """Read each query token's lists again, one by one."""
    probe, before = stages.probe, np.zeros(index.table.n_stored, dtype=bool)
    tokens = []
    for query_index, centroid_ids in enumerate(probe.centroid_ids.tolist()):
        lists = [live_passages_of(index, centroid_id) for centroid_id in centroid_ids]
        pruned = probe.pruned[query_index].tolist()
        found = np.zeros_like(before)
        for places, is_pruned in zip(lists, pruned, strict=True):
            found[places] |= not is_pruned
        centroids = tuple(
            ProbedCentroid(centroid_id, score, len(places), is_pruned)
            for centroid_id, score, places, is_pruned in zip(
                centroid_ids, probe.scores[query_index].tolist(), lists, pruned, strict=True
            )
        )
        n_gained = int((found & ~before).sum())
        tokens.append(TokenTrace(query_index, centroids, float(probe.missing[query_index]), int(found.sum()), n_gained))
        before |= found
    return tuple(tokens)


def _trace_stages(index: CentroidIndex, stages: Stages) -> tuple[StageTrace, ...]:
    """Count what went through each stage."""
    n_probed = len(np.unique(stages.probe.centroid_ids[~stages.probe.pruned]))
    n_candidates, n_kept, n_scored = map(len, (stages.candidates.places, stages.kept.places, stages.scored.places))
    seconds = stages.seconds
    return (
        StageTrace("probe", index.codec.n_centroids, n_probed, "centroids", seconds["probe"]),
        StageTrace("candidates", index.n_passages, n_candidates, "passages", seconds["candidates"]),
        StageTrace("keep", n_candidates, n_kept, "passages", seconds["keep"]),
        StageTrace("centroids", n_kept, n_scored, "passages", seconds["centroids"]),
        StageTrace("exact", n_scored, len(stages.hits), "passages", seconds["exact"]),
    )


def _trace_hits(index: CentroidIndex, stages: Stages) -> tuple[HitTrace, ...]:
    """Put the approximate scores beside each hit's own."""
    stored = index.table.live[[index.place_of(hit.passage_id) for hit in stages.hits]].tolist()
    return tuple(
        HitTrace(
            passage_id=hit.passage_id,
            rank=hit.rank,
            score=hit.score,
            approximate=stages.candidates.score_of(place),
            approximate_rank=stages.candidates.rank_of(place),
            by_centroids=stages.kept.score_of(place),
            by_centroids_rank=stages.kept.rank_of(place),
        )
        for hit, place in zip(stages.hits, stored, strict=True)
    )
