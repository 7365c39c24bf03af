"""Comparing methods on judged queries: numbers, languages, split passages, and what does not fit together."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pytest

import xm.encoder
from xm.errors import CheckpointError, LanguageError, XmError
from xm.evaluation import (
    evaluate_index,
    evaluate_queries,
    evaluate_searcher,
    read_run,
    result_lines,
    score_run,
)
from xm.evaluation.runs import make_runs, merge_parts
from xm.evaluation.trec import Query
from xm.index import save_index
from xm.options import EvaluateOptions
from xm.search import Searcher, build_index
from xm.types import Corpus, Hit, LanguageGuess, Passage, TokenEmbeddings

DIM = 64
METHODS = ["multi_vector", "bm25", "hybrid_rrf", "hybrid_minmax"]
SYNONYMS = {"automobile": "car", "auto": "car", "hund": "dog"}


@dataclass(frozen=True)
class WordEncoder:
    """One random unit vector a word, the same for synonyms; with `pooled`, their mean as the only token."""

    model: str = "words"
    revision: str = "1"
    dim: int = DIM
    languages: tuple[str, ...] = ("en_XX", "de_DE")
    precision: str = "float32"
    pooled: bool = False

    def encode_query(self, text: str, language: LanguageGuess) -> TokenEmbeddings:
        """Encode a query; only the languages above have an adapter."""
        if language.code not in self.languages:
            raise LanguageError(f"no adapter for {language.code}")
        words = text.lower().split()
        vectors = np.stack([vector_of(SYNONYMS.get(word, word)) for word in words])
        if self.pooled:
            words, vectors = ["[POOLED]"], vectors.mean(axis=0, keepdims=True)
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        offsets = np.full((len(words), 2), -1, dtype=np.int32)
        return TokenEmbeddings(text, vectors, tuple(words), offsets, ("content",) * len(words), language)

    def stream_passages(self, texts, languages):
        """Yield (place, token embeddings), last passage first: the order is the encoder's own."""
        for place in reversed(range(len(texts))):
            yield place, self.encode_query(texts[place], languages[place])

    def encode_passages(self, texts, languages):
        """Encode passages in their order."""
        return [self.encode_query(text, language) for text, language in zip(texts, languages, strict=True)]


def vector_of(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=DIM)


def given(code: str) -> LanguageGuess:
    return LanguageGuess(code, 1.0, "given")


PASSAGES = (
    Passage("cars", "every car needs a road", given("en_XX")),
    Passage("dogs", "the dog barks at night", given("en_XX")),
    Passage("ships", "a ship sails the sea", given("en_XX")),
    Passage("hunde", "der hund bellt nachts", given("de_DE")),
)
QUERIES = (
    Query("q1", "automobile", "en_XX"),  # no word in common with its passage: BM25 cannot find it
    Query("q2", "ship sails", "en_XX"),
    Query("q3", "dog bellt", "de_DE"),
)
QRELS = {"q1": {"cars": 1}, "q2": {"ships": 1, "dogs": 0}, "q3": {"hunde": 1}}


def searcher_of(passages=PASSAGES, **fields) -> Searcher:
    encoder = WordEncoder(**fields)
    return Searcher(encoder, build_index(Corpus("toy", tuple(passages)), encoder))


def test_every_method_is_measured_over_all_queries_and_by_language():
    options = EvaluateOptions(measures=("MRR@10", "Success@1"))
    result = evaluate_queries(searcher_of(), QUERIES, QRELS, options=options)
    assert result["queries"] == 3
    assert result["measures"] == {"MRR@10": 1.0, "Success@1": 1.0} == result["runs"]["multi_vector"]
    assert list(result["runs"]) == METHODS
    assert result["runs"]["bm25"] == pytest.approx({"MRR@10": 2 / 3, "Success@1": 2 / 3})
    assert list(result["languages"]) == ["en_XX", "de_DE"]
    assert result["languages"]["en_XX"]["queries"] == 2
    assert result["languages"]["en_XX"]["runs"]["bm25"]["MRR@10"] == pytest.approx(0.5)
    assert result["languages"]["de_DE"]["runs"]["bm25"]["MRR@10"] == pytest.approx(1.0)
    assert result["language_sources"] == {"given": 3}
    assert result["model"] == "words" and result["depth"] == 100
    assert all(spent >= 0 for spent in result["seconds"].values()) and "total" in result["seconds"]
    assert all(found == {"count": 0, "first": []} for found in result["reported"].values())
    assert json.loads(json.dumps(result)) == result


def test_means_over_all_are_the_weighted_means_over_the_languages():
    result = evaluate_queries(searcher_of(), QUERIES, QRELS)
    groups = result["languages"].values()
    for method in METHODS:
        for name, mean in result["runs"][method].items():
            total = sum(group["queries"] * group["runs"][method][name] for group in groups)
            assert mean == pytest.approx(total / result["queries"])


def test_what_files_and_corpus_do_not_agree_on_is_reported():
    queries = (*QUERIES, Query("extra", "night", "en_XX"))
    qrels = {**QRELS, "q2": {"ships": 1, "boats": 1}, "q3": {"woelfe": 1}, "q9": {"cars": 1}}
    result = evaluate_queries(searcher_of(), queries, qrels)
    assert result["queries"] == 3
    assert {name: found["first"] for name, found in result["reported"].items()} == {
        "queries_without_judgement": ["extra"],
        "judged_queries_not_asked": ["q9"],
        "judged_passages_not_in_corpus": ["boats", "woelfe"],
        "queries_without_relevant_passage": ["q3"],
    }
    # An unknown relevant passage counts as missed: half the recall of q2, all of q3.
    assert result["measures"]["R@100"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_long_lists_are_reported_by_their_number():
    queries = (*QUERIES, *(Query(f"x{number}", "night", "en_XX") for number in range(30)))
    found = evaluate_queries(searcher_of(), queries, QRELS)["reported"]["queries_without_judgement"]
    assert found == {"count": 30, "first": [f"x{number}" for number in range(10)]}


@pytest.mark.parametrize(
    ("queries", "qrels", "message"),
    [
        ((), QRELS, "no queries given"),
        (QUERIES, {"Q1": {"cars": 1}}, "none of the 3 queries has a judgement.*'q1'"),
        (QUERIES, {"q1": {"7": 1}, "q2": {"8": 1}}, "none of the 2 judged passages .*'7'.*corpus of 4.*'cars'"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(queries, qrels, message):
    with pytest.raises(XmError, match=message):
        evaluate_queries(searcher_of(), queries, qrels)


def test_an_unknown_measure_is_refused_before_anything_is_encoded():
    encoded = []
    options = EvaluateOptions(measures=("MRR@10", "mrr"))
    with pytest.raises(XmError, match="unknown measure 'mrr'"):
        evaluate_queries(searcher_of(), QUERIES, QRELS, options=options, on_progress=lambda *done: encoded.append(done))
    with pytest.raises(XmError, match="no measures given"):
        evaluate_queries(searcher_of(), QUERIES, QRELS, options=EvaluateOptions(measures=()))
    assert not encoded


def test_a_query_that_cannot_be_encoded_is_named():
    queries = (Query("q1", "automobile", "sw_KE"),)
    with pytest.raises(LanguageError, match="query 'q1' .'automobile'.: .*sw_KE"):
        evaluate_queries(searcher_of(), queries, QRELS)


def test_the_deepest_measure_sets_how_many_hits_are_asked_for():
    options = EvaluateOptions(measures=("R@3",), depth=1)
    assert evaluate_queries(searcher_of(), QUERIES, QRELS, options=options)["depth"] == 3
    assert evaluate_queries(searcher_of(), QUERIES, QRELS)["depth"] == 100


def test_progress_is_told_and_can_cancel():
    seen = []
    evaluate_queries(searcher_of(), QUERIES, QRELS, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_queries(searcher_of(), QUERIES, QRELS, on_progress=stop)


def test_run_files_hold_every_query_and_give_the_same_numbers(tmp_path):
    options = EvaluateOptions(runs_out=str(tmp_path / "new" / "runs"))
    queries = (*QUERIES, Query("unjudged", "night", "en_XX"))
    result = evaluate_queries(searcher_of(), queries, QRELS, options=options)
    assert sorted(result["run_files"]) == sorted(METHODS)
    run = read_run(result["run_files"]["multi_vector"])
    assert list(run) == ["q1", "q2", "q3", "unjudged"] and len(run["q1"]) == 4
    scores = score_run(run, QRELS, measures=options.measures)
    assert {name: sum(by_query.values()) / 3 for name, by_query in scores.items()} == pytest.approx(result["measures"])


def test_ids_that_do_not_fit_a_run_file_are_refused_before_the_work(tmp_path):
    seen = []
    searcher = searcher_of([*PASSAGES, Passage("two words", "a b", given("en_XX"))])
    options = EvaluateOptions(runs_out=str(tmp_path))
    with pytest.raises(XmError, match="'two words' cannot stand"):
        evaluate_queries(searcher, QUERIES, QRELS, options=options, on_progress=lambda *done: seen.append(done))
    assert not seen and not list(tmp_path.iterdir())


def test_a_folder_for_runs_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(XmError, match="runs cannot be written"):
        evaluate_queries(searcher_of(), QUERIES, QRELS, options=EvaluateOptions(runs_out=str(tmp_path / "file" / "x")))


def test_split_passages_count_once_at_the_rank_of_their_best_part():
    parts = {"long#1": "long", "long#2": "long", "short": "short"}
    hits = (Hit("long#2", 3.0, 1), Hit("short", 2.0, 2), Hit("long#1", 1.0, 3))
    assert merge_parts(hits, parts, k=5) == (Hit("long", 3.0, 1), Hit("short", 2.0, 2))
    assert merge_parts(hits, parts, k=1) == (Hit("long", 3.0, 1),)


@pytest.mark.parametrize("depth", [1, 2, 3, 50])
def test_a_run_over_split_passages_is_as_deep_as_one_over_whole_ones(depth):
    parts = [Passage(f"long#{number}", f"dog number {number}", given("en_XX"), "long") for number in range(9)]
    searcher = searcher_of([*parts, *PASSAGES])
    made = make_runs(searcher, (Query("q", "dog", "en_XX"),), depth=depth)
    hits = made.by_method["multi_vector"]["q"]
    assert len(hits) == min(depth, 5) and len({hit.passage_id for hit in hits}) == len(hits)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert not any("#" in hit.passage_id for run in made.by_method.values() for hit in run["q"])


def test_judgements_name_split_passages_by_their_own_id():
    parts = [Passage(f"long#{number}", f"zebra number {number}", given("en_XX"), "long") for number in range(3)]
    qrels = {"q": {"long": 1}}
    result = evaluate_queries(searcher_of([*PASSAGES, *parts]), (Query("q", "zebra", "en_XX"),), qrels)
    assert result["measures"] == {"MRR@10": 1.0, "R@100": 1.0, "nDCG@10": 1.0}
    assert result["reported"]["judged_passages_not_in_corpus"]["count"] == 0


def test_the_single_vector_twin_is_one_more_run(monkeypatch):
    monkeypatch.setitem(vars(xm.encoder), "load_encoder", lambda model: WordEncoder(model=model, pooled=True))
    options = EvaluateOptions(single_vector="twin")
    result = evaluate_queries(searcher_of(), QUERIES, QRELS, options=options)
    assert sorted(result["runs"]) == sorted([*METHODS, "single_vector"])
    assert 0 < result["runs"]["single_vector"]["MRR@10"] <= 1
    assert "single_vector" in result["languages"]["de_DE"]["runs"] and "single_vector" in result["seconds"]


def test_a_multi_vector_checkpoint_is_no_single_vector_twin(monkeypatch):
    monkeypatch.setitem(vars(xm.encoder), "load_encoder", lambda model: WordEncoder(model=model))
    with pytest.raises(CheckpointError, match="4 passages .* vectors; a single-vector checkpoint gives one each"):
        evaluate_queries(searcher_of(), QUERIES, QRELS, options=EvaluateOptions(single_vector="words"))


@pytest.fixture
def files(tmp_path):
    """Queries and judgements on disk."""
    rows = [json.dumps({"id": q.query_id, "text": q.text, "language": q.language}) for q in QUERIES]
    (tmp_path / "queries.jsonl").write_text("\n".join(rows), encoding="utf-8")
    lines = [f"{q} 0 {p} {grade}" for q, by_id in QRELS.items() for p, grade in by_id.items()]
    (tmp_path / "qrels.txt").write_text("\n".join(lines), encoding="utf-8")
    return {"queries_path": tmp_path / "queries.jsonl", "qrels_path": tmp_path / "qrels.txt"}


def test_files_and_values_give_the_same_result(files):
    from_files, from_values = evaluate_searcher(searcher_of(), **files), evaluate_queries(searcher_of(), QUERIES, QRELS)
    assert {**from_files, "seconds": {}} == {**from_values, "seconds": {}}


def test_an_index_folder_is_evaluated_with_the_checkpoint_it_was_made_with(files, tmp_path, monkeypatch):
    asked = []

    def load(model, **_):
        asked.append(model)
        return WordEncoder()

    monkeypatch.setitem(vars(xm.encoder), "load_encoder", load)
    save_index(searcher_of().index, tmp_path / "index")
    result = evaluate_index(tmp_path / "index", **files, options=EvaluateOptions(("Success@1",)))
    assert result["measures"] == {"Success@1": 1.0} and result["queries"] == 3
    evaluate_index(tmp_path / "index", **files, model="other")
    assert asked == ["words", "other"]


def test_the_lines_show_each_method_over_all_and_by_language_and_what_does_not_fit():
    means, other = {"MRR@10": 0.25, "R@5": 0.5}, {"MRR@10": 0.125, "R@5": 1.0}
    result = {
        "measures": means,
        "queries": 4,
        "runs": {"multi_vector": means, "bm25": other},
        "languages": {"sw_KE": {"queries": 3, "runs": {"multi_vector": other}}},
        "reported": {
            "queries_without_judgement": {"count": 2, "first": ["a", "b"]},
            "judged_queries_not_asked": {"count": 0, "first": []},
        },
        "run_files": {"bm25": "runs/bm25.run"},
    }
    assert [line.split() for line in result_lines(result)] == [
        ["MRR@10", "R@5"],
        ["all,", "4", "queries"],
        ["multi_vector", "0.2500", "0.5000"],
        ["bm25", "0.1250", "1.0000"],
        ["sw_KE,", "3", "queries"],
        ["multi_vector", "0.1250", "1.0000"],
        "note: 2 queries without judgement, such as a".split(),
        ["run", "in", "runs/bm25.run"],
    ]


def test_the_lines_of_a_real_result_have_a_row_for_each_method_and_language():
    lines = result_lines(evaluate_queries(searcher_of(), QUERIES, QRELS))
    assert len(lines) == 1 + 3 * (1 + len(METHODS))
