"""The invariants of the values that travel."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from tests import fakes
from xm.maxsim import align
from xm.types import Alignment, Corpus, Hit, LanguageGuess, TokenEmbeddings, digest_of

ENGLISH = LanguageGuess("en_XX", 1.0, "given")


def alignment_of(query: str, passage: str) -> Alignment:
    encoder = fakes.FakeEncoder()
    items = encoder.encode_query(query, ENGLISH), encoder.encode_passages([passage], [ENGLISH])[0]
    return align(*items, passage_id="p7", model="fake")


def test_passage_ids_must_be_unique() -> None:
    passages = (fakes.passage("a", "one"), fakes.passage("b", "two"), fakes.passage("a", "three"))
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        Corpus("toy", passages)


def test_a_corpus_digest_changes_exactly_when_an_id_or_a_text_does() -> None:
    base = Corpus("toy", (fakes.passage("a", "one"), fakes.passage("b", "two")))
    renamed = Corpus("other", base.passages, ("a note",))
    other_language = Corpus("toy", (fakes.passage("a", "one", "de_DE"), fakes.passage("b", "two")))
    assert base.digest == renamed.digest == other_language.digest
    other_text = Corpus("toy", (fakes.passage("a", "one"), fakes.passage("b", "two.")))
    other_id = Corpus("toy", (fakes.passage("a", "one"), fakes.passage("c", "two")))
    other_order = Corpus("toy", base.passages[::-1])
    assert len({base.digest, other_text.digest, other_id.digest, other_order.digest}) == 4


def test_languages_come_most_frequent_first_and_ties_by_code() -> None:
    codes = ["fr_XX", "de_DE", "de_DE", "ar_AR"]
    corpus = Corpus("toy", tuple(fakes.passage(str(i), "x", code) for i, code in enumerate(codes)))
    assert corpus.languages == ("de_DE", "ar_AR", "fr_XX")
    assert Corpus("empty", ()).languages == ()


def test_a_digest_does_not_run_strings_together() -> None:
    different = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ()]
    assert len({digest_of(parts) for parts in different}) == len(different)
    assert digest_of(["\ud83d"]) != digest_of(["\ud83e"])  # lone surrogates, as JSON may hold, have digests too


@pytest.mark.parametrize(("n_vectors", "n_offsets"), [(2, 3), (3, 2), (4, 4)])
def test_token_embeddings_need_one_vector_and_one_span_a_token(n_vectors: int, n_offsets: int) -> None:
    with pytest.raises(ValueError, match="3 tokens need vectors"):
        TokenEmbeddings(
            text="a b c",
            vectors=np.zeros((n_vectors, 4), dtype=np.float32),
            tokens=("a", "b", "c"),
            offsets=np.zeros((n_offsets, 2), dtype=np.int32),
            kinds=("content",) * 3,
            language=ENGLISH,
        )


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Hit("a", 1.0, 1).score = 2.0
    assert Hit("a", 1.0, 1) == Hit("a", 1.0, 1)


def test_values_with_arrays_are_compared_by_identity() -> None:
    first, second = alignment_of("a b", "a b c"), alignment_of("a b", "a b c")
    assert first == first
    assert first != second


def test_an_alignment_as_a_dict_adds_up_and_is_json() -> None:
    alignment = alignment_of("which fox jumps?", "the quick fox jumps")
    facts = json.loads(json.dumps(alignment.to_dict()))
    assert (facts["query"], facts["passage_id"], facts["exact"]) == ("which fox jumps?", "p7", True)
    assert (facts["query_adapter"], facts["passage_adapter"]) == ("en_XX", "en_XX")
    assert sum(row["similarity"] for row in facts["rows"]) == pytest.approx(facts["score"], abs=1e-9)
    assert [row["token"] for row in facts["rows"]] == list(alignment.query.tokens)
    for row in facts["rows"]:
        assert row["best_token"] == alignment.passage.tokens[row["best_index"]]


def test_an_alignment_as_csv_has_a_row_a_token_and_no_formula() -> None:
    alignment = dataclasses.replace(alignment_of("a b", "c d"))
    dangerous = dataclasses.replace(alignment.query, tokens=("=cmd()", "+1", *alignment.query.tokens[2:]))
    rows = list(csv.DictReader(io.StringIO(dataclasses.replace(alignment, query=dangerous).to_csv())))
    assert len(rows) == len(alignment.query.tokens)
    assert [row["token"] for row in rows[:2]] == ["'=cmd()", "'+1"]
    assert sum(float(row["similarity"]) for row in rows) == pytest.approx(alignment.score, abs=1e-9)
