"""Why a passage is, or is not, among the hits of a centroid index: the stage at which it fell out, or its rank.

Leaves out: the search as a whole (xm.index.trace).
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from xm.index.centroid import CentroidIndex
from xm.index.stages import Probe, Stages, compare_centroids
from xm.maxsim import maxsim
from xm.options import SearchOptions

Outcome = Literal["not probed", "pruned", "not kept", "not scored", "not among the hits", "hit"]


@dataclass(frozen=True)
class Nearest:
    """The centroid of a passage that comes first for any query token.

    query_index: that token, from 0. passage_index: a token of the passage that lies there. number: the centroid's
    place among all centroids by cosine with the query token, from 1. score: that cosine.
    """

    query_index: int
    passage_index: int
    centroid_id: int
    number: int
    score: float


@dataclass(frozen=True)
class Why:
    """What became of one passage in one search.

    outcome: the stage at which it fell out, or "hit". score: MaxSim on its decoded embeddings, whatever became of it.
    rank: its place by that score among the passages scored, None if it was not. would_be_rank: the place among the
    hits that its score deserves, None if it is too low for any. approximate, approximate_rank: by probed centroids,
    None if it was no candidate. by_centroids, by_centroids_rank: by all its centroids, None if it was not kept.
    """

    passage_id: str
    outcome: Outcome
    score: float
    rank: int | None
    would_be_rank: int | None
    approximate: float | None
    approximate_rank: int | None
    by_centroids: float | None
    by_centroids_rank: int | None
    nearest: Nearest
    n_probe: int
    centroid_threshold: float | None
    n_candidates: int
    n_kept: int
    n_scored: int
    k: int

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.outcome == "hit":
            return f"Rank {self.rank:,} of {self.k:,} asked for, with score {self.score:.2f}. {self._by_centroids}"
        if self.outcome == "not among the hits":
            return (
                f"Scored {self.score:.2f}, which is number {self.rank:,} of the {self.n_scored:,} passages scored; "
                f"{self.k:,} were asked for. {self._by_centroids}"
            )
        lost = (
            "" if self.would_be_rank is None else f" Its score, {self.score:.2f}, deserves rank {self.would_be_rank:,}."
        )
        if self.outcome == "not kept":
            return (
                f"A candidate, but its approximate score {self.approximate:.2f} was number "
                f"{self.approximate_rank:,} of {self.n_candidates:,}, and {self.n_kept:,} were kept.{lost}"
            )
        if self.outcome == "not scored":
            return (
                f"Kept, but its score by all its centroids, {self.by_centroids:.2f}, was number "
                f"{self.by_centroids_rank:,} of {self.n_kept:,}, and {self.n_scored:,} were scored exactly.{lost}"
            )
        near = self.nearest
        if self.outcome == "pruned":
            return (
                f"Its nearest centroid, number {near.number} for query token {near.query_index} with cosine "
                f"{near.score:.2f}, was left out: it is below the threshold {self.centroid_threshold:.2f} for every "
                f"query token.{lost}"
            )
        return (
            f"None of its tokens lies in a probed centroid; its nearest was number {near.number:,} of n_probe "
            f"{self.n_probe}, for query token {near.query_index}.{lost}"
        )

    @property
    def _by_centroids(self) -> str:
        """How it stood before exact scoring."""
        return (
            f"By probed centroids it was number {self.approximate_rank:,} of {self.n_candidates:,} candidates, by all "
            f"its centroids number {self.by_centroids_rank:,} of the {self.n_kept:,} kept."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, the sentence too, as a dict for JSON."""
        return {**asdict(self), "sentence": self.sentence}


def why(
    index: CentroidIndex,
    query_vectors: np.ndarray,
    passage_id: str,
    *,
    k: int,
    options: SearchOptions = SearchOptions(),
) -> Why:
    """Say what becomes of a passage in the search with these arguments.

    Args:
        index: searched.
        query_vectors: (n_query, dim) float32, unit rows.
        passage_id: any passage of the index.
        k: hits wanted.
        options: how far the search looks.

    Raises:
        XmError: no passage has this id, or as `index.search`.
    """
    place = index.place_of(passage_id)
    stages = index.stages(query_vectors, k=k, options=options)
    stored = int(index.table.live[place])
    score = maxsim(query_vectors, index.reconstruct(passage_id).vectors)
    ranks = (stages.candidates.rank_of(stored), stages.kept.rank_of(stored))
    rank = _rank_of(index, stages, passage_id)
    better = sum((-hit.score, hit.passage_id) < (-score, passage_id) for hit in stages.hits)
    near = nearest_centroid(index, query_vectors, place)
    return Why(
        passage_id=passage_id,
        outcome=_outcome(*ranks, rank, k, near, stages.probe),
        score=score,
        rank=rank,
        would_be_rank=better + 1 if better < k else None,
        approximate=stages.candidates.score_of(stored),
        approximate_rank=ranks[0],
        by_centroids=stages.kept.score_of(stored),
        by_centroids_rank=ranks[1],
        nearest=near,
        n_probe=stages.probe.centroid_ids.shape[1],
        centroid_threshold=options.centroid_threshold,
        n_candidates=len(stages.candidates.places),
        n_kept=len(stages.kept.places),
        n_scored=len(stages.scored.places),
        k=k,
    )


def nearest_centroid(index: CentroidIndex, query_vectors: np.ndarray, place: int) -> Nearest:
    """Find which of a passage's centroids comes first for any query token, and as which number."""
    ids = index.codes.centroid_ids[index.table.rows_of(place)].astype(np.int64)
    cells = compare_centroids(index.codec, query_vectors, index.listed)
    passage_index = cells[:, ids].argmax(axis=1)
    scores = cells[np.arange(len(cells)), ids[passage_index]]
    numbers = 1 + (cells > scores[:, None]).sum(axis=1)
    # Of equal numbers the token that is nearest.
    query_index = int(np.lexsort((-scores, numbers))[0])
    chosen = int(passage_index[query_index])
    return Nearest(query_index, chosen, int(ids[chosen]), int(numbers[query_index]), float(scores[query_index]))


def _rank_of(index: CentroidIndex, stages: Stages, passage_id: str) -> int | None:
    """Its place among the passages that were scored, from 1."""
    for hit in stages.hits:
        if hit.passage_id == passage_id:
            return hit.rank
    own = stages.exact[stages.scored.places == index.table.live[index.place_of(passage_id)]]
    if len(own) == 0:
        return None
    # Behind every hit, whatever the last bits of the scores say.
    return max(1 + int((stages.exact > own[0]).sum()), len(stages.hits) + 1)


def _outcome(
    approximate_rank: int | None, kept_rank: int | None, rank: int | None, k: int, near: Nearest, probe: Probe
) -> Outcome:
    """Name the stage."""
    if approximate_rank is None:
        return "pruned" if near.number <= probe.centroid_ids.shape[1] else "not probed"
    if rank is None:
        return "not kept" if kept_rank is None else "not scored"
    return "hit" if rank <= k else "not among the hits"
