"""Training questions from files of every form, and what is said where they are bad."""

import json
import lzma
import sys
from types import SimpleNamespace

import pytest

from xm.errors import TrainingError
from xm.train.data import QuestionPair, read_questions
from xm.train.triples import read_training


def _write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_json_lines_keep_title_source_and_negatives(tmp_path):
    row = {"question": "who?", "context": "She did.", "source": "web", "title": "Acts", "negatives": ["He.", "They."]}
    other = {"query": "what?", "positive": "That.", "negative": "This.", "negative_2": None}
    path = _write(tmp_path / "q.jsonl", json.dumps(row), "", json.dumps(other))
    assert read_training(path) == [
        QuestionPair("who?", "She did.", "web", "Acts", ("He.", "They.")),
        QuestionPair("what?", "That.", negatives=("This.",)),
    ]
    assert [pair.question for pair in read_training(path, sources=["web"])] == ["who?"]


def test_a_title_is_put_before_a_passage_that_needs_it_once(tmp_path):
    row = {"question": "who?", "context": "He ran.", "source": "fairytaleqa", "title": "The Fox"}
    path = tmp_path / "q.jsonl"
    _write(path, json.dumps(row))
    [pair] = read_questions(path)
    assert pair.passage == "The Fox. He ran."
    _write(path, json.dumps({**row, "context": pair.passage}))  # as a mined file holds it
    assert read_questions(path) == [pair]


def test_tsv_holds_texts_with_any_number_of_negatives_plain_or_compressed(tmp_path):
    lines = "who?\tShe did.\tHe.\tThey.\nwhat?\tThat.\n"
    path = tmp_path / "triples.tsv.xz"
    path.write_bytes(lzma.compress(lines.encode()))
    expected = [QuestionPair("who?", "She did.", negatives=("He.", "They.")), QuestionPair("what?", "That.")]
    assert read_training(str(path)) == expected


def test_ids_are_looked_up_in_queries_and_collection(tmp_path):
    _write(tmp_path / "queries.tsv", "7\twho?", "8\tunused")
    _write(tmp_path / "collection.tsv", "0\tShe did.", "1\tHe.", "2\tunused")
    path = _write(tmp_path / "triples.tsv", "7\t0\t1")
    files = {"queries": tmp_path / "queries.tsv", "collection": tmp_path / "collection.tsv"}
    assert read_training(path, **files) == [QuestionPair("who?", "She did.", negatives=("He.",))]
    _write(tmp_path / "triples.tsv", "7\t0\t1", "7\t0\t9")
    with pytest.raises(TrainingError, match=r"line 2: passage '9' is not in queries.tsv and collection.tsv"):
        read_training(path, **files)
    with pytest.raises(TrainingError, match="both files"):
        read_training(path, queries=tmp_path / "queries.tsv")


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("q.jsonl", "{", "row 1: not JSON"),
        ("q.jsonl", "[1]", "row 1: a list"),
        ("q.jsonl", '{"question": "who?"}', "row 1: needs `question` and `context`.*'question'"),
        ("q.jsonl", '{"question": "who?", "context": " "}', "needs `question`"),
        ("q.jsonl", '{"question": "who?", "context": "x", "negatives": [3]}', "negatives must be texts"),
        ("q.tsv", "only one column", "line 1: 1 columns; expected query"),
        ("q.tsv", "query\t\tnegative", "none empty"),
        ("q.csv", "a,b", "expected a .jsonl or .tsv"),
    ],
)
def test_bad_files_are_named_with_row_and_reason(tmp_path, name, line, message):
    with pytest.raises(TrainingError, match=message):
        read_training(_write(tmp_path / name, line))


def test_a_hub_set_needs_the_datasets_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TrainingError, match="pip install datasets"):
        read_training("hub:someone/questions")


def test_a_hub_set_is_read_like_json_lines(monkeypatch):
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        return [{"anchor": "who?", "positive": "She did.", "negative": "He."}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert read_training("hub:someone/questions:triplet") == [QuestionPair("who?", "She did.", negatives=("He.",))]
    read_training("hub:someone/questions")
    assert asked == [("someone/questions", "triplet", "train"), ("someone/questions", None, "train")]


def test_a_hub_set_that_cannot_be_fetched_is_a_clear_error(monkeypatch):
    def load_dataset(name, config, split):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(TrainingError, match="cannot be fetched: no route"):
        read_training("hub:someone/questions")
