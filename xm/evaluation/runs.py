"""Runs of the same queries by every method: multi-vector, BM25, their two hybrids, and a single-vector twin.

Leaves out: measuring the runs (xm.evaluation.measures, xm.evaluation.compare).
"""

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xm.errors import CheckpointError, XmError
from xm.evaluation.trec import Query, Run
from xm.fusion import fuse_ranks, fuse_scores
from xm.lexical import LexicalIndex
from xm.search import Searcher, build_index
from xm.types import Corpus, Hit, LanguageGuess

OnProgress = Callable[[int, int], None]  # queries done, queries in all; raising in it cancels


@dataclass(frozen=True)
class Runs:
    """What the methods returned: name of the method -> run; the language each query went by; seconds per stage."""

    by_method: dict[str, Run]
    languages: dict[str, LanguageGuess]
    seconds: dict[str, float]


def make_runs(
    searcher: Searcher,
    queries: Sequence[Query],
    *,
    depth: int,
    single_vector: Searcher | None = None,
    on_progress: OnProgress | None = None,
) -> Runs:
    """Search every query by every method.

    A passage that was split on reading stands in a run once, under the id it had in its file, at the rank of its
    best part: that is what judgements know. The hybrids fuse the multi-vector and the BM25 run of the same depth.

    Args:
        searcher: encoder and index of the multi-vector run.
        queries: each goes by its own language; "auto" is detected once, for all methods.
        depth: hits per query and method, at most.
        single_vector: the twin's encoder and its index of the same corpus, if its run is wanted.
        on_progress: told after each query.

    Raises:
        XmError: a query cannot be encoded; its id is named.
    """
    begun = time.perf_counter()
    passages = searcher.index.corpus.passages
    parents = {passage.passage_id: passage.parent_id or passage.passage_id for passage in passages}
    k, lexical = _n_hits(parents, depth), LexicalIndex(passages)
    seconds: dict[str, float] = defaultdict(float, bm25_index=time.perf_counter() - begun)
    runs: dict[str, Run] = defaultdict(dict)
    languages: dict[str, LanguageGuess] = {}
    for done, query in enumerate(queries, 1):
        rankings, languages[query.query_id] = _search(query, searcher, lexical, k, seconds)
        if single_vector is not None:
            asked = dataclasses.replace(query, language=languages[query.query_id].code)
            rankings["single_vector"] = _single(asked, single_vector, k, seconds)
        for method, hits in _fused(rankings, parents, depth, seconds).items():
            runs[method][query.query_id] = hits
        if on_progress is not None:
            on_progress(done, len(queries))
    return Runs(dict(runs), languages, dict(seconds))


def build_twin(corpus: Corpus, model: str) -> Searcher:
    """Index a corpus with a single-vector checkpoint, whose MaxSim is the cosine of its one vector a text.

    Raises:
        CheckpointError: the checkpoint gives a passage more than one vector.
    """
    from xm.encoder import load_encoder  # brings torch: only where a checkpoint is loaded

    encoder = load_encoder(model)
    index = build_index(corpus, encoder)
    if index.n_tokens != len(corpus.passages):
        raise CheckpointError(
            f"{model} gives {len(corpus.passages)} passages {index.n_tokens} vectors; a single-vector checkpoint "
            f"gives one each. Name a checkpoint that pools its tokens, or leave the single-vector run out"
        )
    return Searcher(encoder, index)


def merge_parts(hits: Sequence[Hit], parents: Mapping[str, str], *, k: int) -> tuple[Hit, ...]:
    """Keep the best part of each split passage, under the passage's own id; number the ranks anew; keep k."""
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(parents[hit.passage_id], hit)
    kept = list(best.items())[:k]
    return tuple(
        dataclasses.replace(hit, passage_id=passage_id, rank=rank) for rank, (passage_id, hit) in enumerate(kept, 1)
    )


def _n_hits(parents: Mapping[str, str], depth: int) -> int:
    """Return how many hits are sure to hold `depth` whole passages, whichever parts they are."""
    n_parts = Counter(parents.values())
    n_extra = len(parents) - len(n_parts)
    return min(depth + n_extra, depth * max(n_parts.values()), len(parents))


def _search(
    query: Query, searcher: Searcher, lexical: LexicalIndex, k: int, seconds: dict[str, float]
) -> tuple[dict[str, tuple[Hit, ...]], LanguageGuess]:
    """Search one query by multi-vector and BM25; add the time each stage took to `seconds`."""
    try:
        result = searcher.search(query.text, k=k, language=query.language)
    except XmError as error:
        raise type(error)(f"query {query.query_id!r} ({query.text[:60]!r}): {error}") from error
    for stage, spent in result.seconds.items():
        seconds[stage] += spent
    begun = time.perf_counter()
    rankings = {"multi_vector": result.hits, "bm25": lexical.search(query.text, k=k)}
    seconds["bm25"] += time.perf_counter() - begun
    return rankings, result.query.language


def _single(query: Query, searcher: Searcher, k: int, seconds: dict[str, float]) -> tuple[Hit, ...]:
    """Search one query by its single vector; add the time to `seconds`."""
    begun = time.perf_counter()
    hits = searcher.search(query.text, k=k, language=query.language).hits
    seconds["single_vector"] += time.perf_counter() - begun
    return hits


def _fused(
    rankings: Mapping[str, Sequence[Hit]], parents: Mapping[str, str], depth: int, seconds: dict[str, float]
) -> dict[str, tuple[Hit, ...]]:
    """Merge the parts in every ranking, then fuse multi-vector and BM25; add the time to `seconds`."""
    begun = time.perf_counter()
    merged = {method: merge_parts(hits, parents, k=depth) for method, hits in rankings.items()}
    pair = [merged["multi_vector"], merged["bm25"]]
    merged["hybrid_rrf"] = fuse_ranks(pair, k=depth)
    merged["hybrid_minmax"] = fuse_scores(pair, k=depth)
    seconds["fusion"] += time.perf_counter() - begun
    return merged
