"""Compare retrieval methods on judged queries, over all of them and language by language: `xm evaluate`.

Leaves out: making the runs (xm.evaluation.runs) and drawing the result.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from xm.errors import XmError
from xm.evaluation.measures import cutoff_of, mean_scores, score_run
from xm.evaluation.runs import OnProgress, Runs, build_twin, make_runs
from xm.evaluation.trec import Qrels, Query, check_ids, read_qrels, read_queries, write_run
from xm.options import EvaluateOptions
from xm.search import Searcher, open_searcher
from xm.types import Corpus

_N_SHOWN = 10  # ids quoted of a list that may be as long as the file


def evaluate_index(
    index_folder: str | Path,
    *,
    queries_path: str | Path,
    qrels_path: str | Path,
    options: EvaluateOptions = EvaluateOptions(),
    model: str | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, object]:
    """Evaluate an index folder on judged queries; the result is that of `evaluate_queries`.

    Args:
        index_folder: made by `xm index`; a corpus is taken too, and indexed first.
        queries_path: JSON Lines or TSV, see `read_queries`.
        qrels_path: TREC's four columns, see `read_qrels`.
        options: measures (names such as MRR@10, see `find_measure`), depth, single-vector twin, folder for the runs.
        model: checkpoint; None: the one that the index was made with.
        on_progress: told the number of queries done and in all.

    Raises:
        XmError: a file, a measure, the index or the checkpoint cannot be used.
    """
    _depth(options)  # a wrong name or file shows before anything is loaded
    queries, qrels = read_queries(queries_path), read_qrels(qrels_path)
    searcher = open_searcher(index_folder, model=model)
    return evaluate_queries(searcher, queries, qrels, options=options, on_progress=on_progress)


def evaluate_searcher(
    searcher: Searcher,
    *,
    queries_path: str | Path,
    qrels_path: str | Path,
    options: EvaluateOptions = EvaluateOptions(),
    on_progress: OnProgress | None = None,
) -> dict[str, object]:
    """Evaluate a searcher on judged queries read from files; the result is that of `evaluate_queries`.

    Raises:
        XmError: a file, a measure or the single-vector checkpoint cannot be used.
    """
    queries, qrels = read_queries(queries_path), read_qrels(qrels_path)
    return evaluate_queries(searcher, queries, qrels, options=options, on_progress=on_progress)


def evaluate_queries(
    searcher: Searcher,
    queries: Sequence[Query],
    qrels: Qrels,
    *,
    options: EvaluateOptions = EvaluateOptions(),
    on_progress: OnProgress | None = None,
) -> dict[str, object]:
    """Run and measure judged queries by every method.

    Args:
        searcher: encoder and index of the multi-vector run.
        queries: those without a judgement are reported, and run only where runs are written.
        qrels: those of queries that are not asked are reported and left out.
        options: measures, depth, single-vector twin, folder for the runs.
        on_progress: told the number of queries done and in all.

    Returns:
        What JSON carries: "measures" (means of the multi-vector run), "queries" (how many they are over), "seconds"
        per stage, "runs" (method -> means), "languages" (XMOD code of the query -> number of queries and runs),
        "language_sources" (how the queries' languages were chosen), "reported" (what the files do not agree on, each
        as a count and its first ids), "model", "revision", "depth", "run_files".

    Raises:
        XmError: no query is judged, no judged passage is in the corpus, a measure is unknown, or a query cannot be
            encoded.
    """
    begun = time.perf_counter()
    corpus, depth = searcher.index.corpus, _depth(options)
    asked = {query.query_id: qrels[query.query_id] for query in queries if query.query_id in qrels}
    _check(corpus, queries, asked, options)
    twin = build_twin(corpus, options.single_vector) if options.single_vector else None
    to_run = [query for query in queries if options.runs_out or query.query_id in asked]
    runs = make_runs(searcher, to_run, depth=depth, single_vector=twin, on_progress=on_progress)
    run_files = _write(runs, options.runs_out) if options.runs_out else {}
    return {
        **_measure(runs, asked, options.measures),
        "seconds": {**runs.seconds, "total": time.perf_counter() - begun},
        "reported": _report(corpus, queries, qrels),
        "model": searcher.encoder.model,
        "revision": searcher.encoder.revision,
        "depth": depth,
        "run_files": run_files,
    }


def _depth(options: EvaluateOptions) -> int:
    """Return how many hits a query gets: never fewer than the deepest measure looks at."""
    if not options.measures:
        raise XmError("no measures given; name at least one, such as MRR@10")
    return max(options.depth, *(cutoff_of(name) for name in options.measures))


def _check(corpus: Corpus, queries: Sequence[Query], asked: Qrels, options: EvaluateOptions) -> None:
    """Raise where the files do not belong together, or the runs could not be written after all the work."""
    if not queries:
        raise XmError("no queries given; expected at least one with a judgement")
    if not asked:
        raise XmError(
            f"none of the {len(queries)} queries has a judgement; the ids of the queries (such as "
            f"{queries[0].query_id!r}) must be those of the first column of the qrels"
        )
    known = _ids_of(corpus)
    named = sorted({passage_id for judgements in asked.values() for passage_id in judgements})
    if known.isdisjoint(named):
        raise XmError(
            f"none of the {len(named)} judged passages (such as {named[0]!r}) is in the corpus of {len(known)} "
            f"passages (such as {min(known)!r}); the third column of the qrels must hold the corpus's ids"
        )
    if options.runs_out:
        check_ids([query.query_id for query in queries])
        check_ids(sorted(known))


def _report(corpus: Corpus, queries: Sequence[Query], qrels: Qrels) -> dict[str, dict[str, object]]:
    """Say what queries, judgements and corpus do not agree on; nothing of it is dropped without a word."""
    known, asked = _ids_of(corpus), {query.query_id for query in queries}
    relevant = {query_id: {i for i, grade in by_id.items() if grade > 0} for query_id, by_id in qrels.items()}
    lists = {
        "queries_without_judgement": [query.query_id for query in queries if query.query_id not in qrels],
        "judged_queries_not_asked": [query_id for query_id in qrels if query_id not in asked],
        "judged_passages_not_in_corpus": sorted({i for by_id in qrels.values() for i in by_id} - known),
        # No method can find anything for these: they count as 0 in every mean.
        "queries_without_relevant_passage": [
            query_id for query_id in qrels if query_id in asked and known.isdisjoint(relevant[query_id])
        ],
    }
    return {name: {"count": len(ids), "first": ids[:_N_SHOWN]} for name, ids in lists.items()}


def _ids_of(corpus: Corpus) -> set[str]:
    """Return the ids that judgements may name: a split passage's own, not its parts'."""
    return {passage.parent_id or passage.passage_id for passage in corpus.passages}


def _measure(runs: Runs, asked: Qrels, measures: Sequence[str]) -> dict[str, object]:
    """Average every run over all judged queries, and over those of each language, most queries first."""
    scores = {method: score_run(run, asked, measures=measures) for method, run in runs.by_method.items()}
    groups: dict[str, list[str]] = {}
    for query_id in asked:
        groups.setdefault(runs.languages[query_id].code, []).append(query_id)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    means = _mean_of_each(scores, list(asked))
    sources = [runs.languages[query_id].source for query_id in asked]
    return {
        "measures": means["multi_vector"],
        "queries": len(asked),
        "runs": means,
        "languages": {code: {"queries": len(ids), "runs": _mean_of_each(scores, ids)} for code, ids in ordered},
        "language_sources": {source: sources.count(source) for source in sorted(set(sources))},
    }


def _mean_of_each(
    scores: Mapping[str, Mapping[str, Mapping[str, float]]], query_ids: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Average each method's measures over the given queries."""
    return {method: mean_scores(by_measure, query_ids) for method, by_measure in scores.items()}


def _write(runs: Runs, folder: str | Path) -> dict[str, str]:
    """Write one TREC run file a method; return their paths."""
    folder = Path(folder)
    files = {method: folder / f"{method}.run" for method in runs.by_method}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for method, path in files.items():
            write_run(runs.by_method[method], path, tag=method)
    except OSError as error:
        raise XmError(f"{folder}: runs cannot be written ({error.strerror}); name a folder that can") from error
    return {method: str(path) for method, path in files.items()}
