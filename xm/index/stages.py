"""The stages of a search over compressed embeddings: probe, candidates, keep, centroids, exact.

ColBERTv2, appendix A (Santhanam et al. 2022), with two stages of PLAID (Santhanam et al. 2022b): scoring what is kept
by all its centroids, which leaves few passages to decode, and as an option the pruning of centroids.
Leaves out: putting the stages together (xm.index.centroid), telling about them (xm.index.trace).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xm.errors import XmError
from xm.index.codec import Codec, decode_sums
from xm.index.lists import BLOCK_PASSAGES, InvertedLists
from xm.options import SearchOptions
from xm.types import Codes, Hit

# Tokens scored at once: decoded, 4 MB at 128 dimensions. Smaller blocks stay in a nearer cache but cost more matrix
# products, each of which waits for every thread: on a busy machine 256 passages took 0.73 s by 1,024 tokens, 0.16 s by
# 4,096.
_BLOCK_TOKENS = 8_192
_STEPS = 32_767  # of the largest cosine, where passages are scored by centroids: 16 bits are half of what floats move


@dataclass(frozen=True, eq=False)
class Probe:
    """The centroids nearest to each query token.

    centroid_ids: (n_query, n_probe) int64, by falling score. scores: (n_query, n_probe) float32, cosines. pruned:
    (n_query, n_probe) bool, true where the list is not read (PLAID's threshold). missing: (n_query,) float32, the
    cosine of the best centroid that is not among them, which no centroid outside the probed ones exceeds (the lowest
    of all where every centroid is probed).
    """

    centroid_ids: np.ndarray
    scores: np.ndarray
    pruned: np.ndarray
    missing: np.ndarray


@dataclass(frozen=True, eq=False)
class Candidates:
    """Passages found: places (n,) int64, stored, rising; scores (n,) float32, approximate."""

    places: np.ndarray
    scores: np.ndarray

    def score_of(self, stored: int) -> float | None:
        """Return a stored passage's approximate score; None if it is not among these."""
        at = self._find(stored)
        return None if at is None else float(self.scores[at])

    def rank_of(self, stored: int) -> int | None:
        """Return where a stored passage stands by its approximate score, from 1; None if it is not among these."""
        at = self._find(stored)
        if at is None:
            return None
        score = self.scores[at]
        return 1 + int((self.scores > score).sum()) + int((self.scores[:at] == score).sum())

    def _find(self, stored: int) -> int | None:
        """Return where in the arrays a stored passage is."""
        at = int(np.searchsorted(self.places, stored))
        return at if at < len(self.places) and self.places[at] == stored else None


@dataclass(frozen=True, eq=False)
class Stages:
    """Everything one search saw.

    kept: the best candidates, their scores now by all their centroids. scored: the best of these. exact: (n_scored,)
    float64, MaxSim on their decoded embeddings. seconds: by stage.
    """

    probe: Probe
    candidates: Candidates
    kept: Candidates
    scored: Candidates
    exact: np.ndarray
    hits: tuple[Hit, ...]
    seconds: dict[str, float]


def check_options(options: SearchOptions) -> None:
    """Refuse counts below 1 and a threshold that is no cosine."""
    if min(options.n_probe, options.n_candidates, options.n_exact) < 1:
        raise XmError(
            f"n_probe is {options.n_probe}, n_candidates {options.n_candidates} and n_exact {options.n_exact}; "
            "each must be 1 or more"
        )
    if options.centroid_threshold is not None and not -1 <= options.centroid_threshold <= 1:
        raise XmError(f"centroid_threshold is {options.centroid_threshold}; give a cosine from -1 to 1, or None")


def compare_centroids(codec: Codec, query_vectors: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Return (n_query, n_centroids) float32: cosines, minus infinity for centroids that are not listed.

    K-means leaves centroids without a token when vectors repeat, and so does deleting: to probe them would be wasted.
    """
    cells = query_vectors @ codec.centroids.T
    cells[:, ~listed] = -np.inf
    return cells


def probe_centroids(cells: np.ndarray, n_listed: int, options: SearchOptions) -> Probe:
    """Find the n_probe nearest centroids of each query token; where there are fewer, all of them.

    Args:
        cells: as `compare_centroids` gives them.
        n_listed: centroids that have a passage.
        options: n_probe and the threshold.
    """
    n_centroids = cells.shape[1]
    n_probe = min(options.n_probe, n_listed)
    n_ranked = min(n_probe + 1, n_listed)  # one more: the best that is not probed
    ids = np.argpartition(cells, n_centroids - n_ranked, axis=1)[:, n_centroids - n_ranked :]
    scores = np.take_along_axis(cells, ids, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    ids, scores = np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
    missing, ids, scores = scores[:, -1], ids[:, :n_probe], scores[:, :n_probe]
    pruned = np.zeros(ids.shape, dtype=bool)
    if options.centroid_threshold is not None:
        pruned = cells.max(axis=0)[ids] < options.centroid_threshold
    return Probe(ids, scores, pruned, missing)


def find_candidates(lists: Sequence[InvertedLists], probe: Probe, live: np.ndarray) -> Candidates:
    """Read the probed lists and score what is in them by centroids alone (ColBERTv2, appendix A).

    A passage's approximate score is the sum, over query tokens, of the cosine with the best probed centroid that
    holds one of its tokens, or else of `probe.missing`: without pruning never less than MaxSim over its centroids, and
    equal to it where every centroid is probed. (Appendix A counts 0 for what is missing, which would put passages
    that are unlike the query before passages that are known to be.)

    Args:
        lists: of all stored passages.
        probe: the centroids to read.
        live: (n_stored,) bool, false for deleted passages.
    """
    places, scores = [], []
    for part in lists:
        for block, starts in enumerate(part.starts):
            first = part.first_passage + block * BLOCK_PASSAGES
            block_live = live[first : first + BLOCK_PASSAGES]
            found, totals = _read_block(part.passages, starts, probe, len(block_live))
            found &= block_live
            places.append(np.flatnonzero(found) + first)
            scores.append(totals[found])
    return Candidates(np.concatenate(places), np.concatenate(scores))


def keep_best(candidates: Candidates, n: int) -> Candidates:
    """Keep the n candidates of highest approximate score, of equal ones those stored first."""
    surplus = len(candidates.places) - n
    if surplus <= 0:
        return candidates
    last = np.partition(candidates.scores, surplus)[surplus]
    keep = candidates.scores > last
    keep[np.flatnonzero(candidates.scores == last)[: n - int(keep.sum())]] = True
    return Candidates(candidates.places[keep], candidates.scores[keep])


def score_by_centroids(cells: np.ndarray, centroid_ids: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Score passages by MaxSim over their centroids, probed or not: PLAID's third stage.

    Args:
        cells: as `compare_centroids` gives them.
        centroid_ids: (n_stored_tokens,) int, of all stored tokens.
        bounds: (n_passages, 2) int64, first row and the one after the last of each passage.

    Returns:
        (n_passages,) float32, each cosine rounded to one part in _STEPS of the largest.
    """
    peak = np.abs(cells).max(where=np.isfinite(cells), initial=1e-12)
    steps = np.rint(np.maximum(cells, -peak).T * (_STEPS / peak)).astype(np.int16, order="C")
    scores = np.empty(len(bounds), dtype=np.float32)
    for block, rows, starts in _blocks(bounds):
        best = np.maximum.reduceat(np.take(steps, centroid_ids[rows], axis=0), starts, axis=0)
        scores[block] = best.sum(axis=1, dtype=np.int64) * (peak / _STEPS)
    return scores


def score_exactly(codec: Codec, codes: Codes, bounds: np.ndarray, query_vectors: np.ndarray) -> np.ndarray:
    """Score passages by MaxSim on their decoded embeddings, block by block.

    Args:
        codec: the index's.
        codes: of all stored tokens.
        bounds: as for `score_by_centroids`.
        query_vectors: (n_query, dim) float32.

    Returns:
        (n_passages,) float64. A negative maximum counts as it is.
    """
    scores = np.empty(len(bounds), dtype=np.float64)
    columns = np.ascontiguousarray(query_vectors.T)
    for block, rows, starts in _blocks(bounds):
        summed, norms = decode_sums(codec, codes.centroid_ids[rows], codes.residuals[rows])
        cells = summed @ columns
        cells /= norms[:, None]
        scores[block] = np.maximum.reduceat(cells, starts, axis=0).sum(axis=1, dtype=np.float64)
    return scores


def _blocks(bounds: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Cut passages into runs of about _BLOCK_TOKENS: which passages, the rows of their tokens, where each begins."""
    lengths = bounds[:, 1] - bounds[:, 0]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    first = 0
    while first < len(bounds):
        after = max(first + 1, int(np.searchsorted(ends, ends[first] + _BLOCK_TOKENS, side="right")) - 1)
        starts = ends[first:after] - ends[first]
        rows = np.repeat(bounds[first:after, 0] - starts, lengths[first:after]) + np.arange(ends[after] - ends[first])
        yield slice(first, after), rows, starts
        first = after


def _read_block(
    passages: np.ndarray, starts: np.ndarray, probe: Probe, n_passages: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which passages of a block are in a probed list, (n_passages,) bool, and all their scores, float32."""
    found = np.zeros(n_passages, dtype=bool)
    totals = np.full(n_passages, probe.missing.sum(), dtype=np.float32)
    begins, ends = starts[probe.centroid_ids].tolist(), starts[probe.centroid_ids + 1].tolist()
    gains, lengths = probe.scores - probe.missing[:, None], starts[probe.centroid_ids + 1] - starts[probe.centroid_ids]
    best = np.empty(n_passages, dtype=np.float32)
    for token, pruned in enumerate(probe.pruned.tolist()):
        # From the worst list to the best, so that what a passage gets last is its best.
        order = [at for at in reversed(range(len(pruned))) if not pruned[at]]
        if not order:
            continue
        places = np.concatenate([passages[begins[token][at] : ends[token][at]] for at in order])
        best[:] = 0
        best[places] = np.repeat(gains[token, order], lengths[token, order])
        found[places] = True
        totals += best
    return found, totals
