"""The benchmark's reading and sampling of question-passage files (benchmarks/evaluate_qa.py)."""

import importlib.util
import json
import lzma
from pathlib import Path

import pytest

from xm.errors import XmError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "evaluate_qa.py"


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("evaluate_qa", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def path(tmp_path):
    """Forty questions on twenty passages, two each, and every id the same."""
    path = tmp_path / "dev.toy.de.jsonl.xz"
    rows = [{"id": "x", "question": f"Frage {n}?", "context": f"Text {n // 2}"} for n in range(40)]
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def gold_pairs(questions):
    texts = {passage.passage_id: passage.text for passage in questions.corpus.passages}
    return [
        (query.text, texts[passage_id]) for query in questions.queries for passage_id in questions.qrels[query.query_id]
    ]


def test_each_question_has_the_passage_of_its_row(script, path):
    questions = script.read_set(path, max_questions=None, max_passages=None, seed=0)
    assert len(questions.corpus.passages) == 20 and len(questions.queries) == 40
    assert gold_pairs(questions) == [(f"Frage {n}?", f"Text {n // 2}") for n in range(40)]
    assert questions.corpus.languages == ("de_DE",) and questions.queries[0].language == "de_DE"


@pytest.mark.parametrize(("max_questions", "max_passages"), [(10, None), (None, 7), (10, 15), (3, 2), (40, 20)])
def test_a_sample_keeps_every_question_s_passage_and_its_limits(script, path, max_questions, max_passages):
    questions = script.read_set(path, max_questions=max_questions, max_passages=max_passages, seed=1)
    assert 1 <= len(questions.queries) <= (max_questions or 40)
    assert len(questions.corpus.passages) == (max_passages or 20)
    assert set(gold_pairs(questions)) <= {(f"Frage {n}?", f"Text {n // 2}") for n in range(40)}
    assert len(gold_pairs(questions)) == len(questions.queries)


def test_the_same_seed_gives_the_same_sample(script, path):
    first, again, other = (script.read_set(path, max_questions=10, max_passages=12, seed=seed) for seed in (1, 1, 2))
    assert first == again and first != other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "a", "context": "b"}\n{"question": "a"}\n', "line 2: .*question and context"),
        ("nonsense\n", "line 1"),
        ("", "no rows"),
    ],
)
def test_a_bad_file_is_named(script, tmp_path, content, message):
    path = tmp_path / "dev.toy.de.jsonl.xz"
    path.write_bytes(lzma.compress(content.encode()))
    with pytest.raises(XmError, match=message):
        script.read_set(path, max_questions=None, max_passages=None, seed=0)


def test_a_file_that_is_not_compressed_and_a_folder_without_files_are_refused(script, tmp_path):
    with pytest.raises(XmError, match="no files named"):
        script.find_files(tmp_path, None)
    (tmp_path / "dev.toy.de.jsonl.xz").write_text("plain")
    with pytest.raises(XmError, match="cannot be read"):
        script.read_pairs(tmp_path / "dev.toy.de.jsonl.xz")
    with pytest.raises(XmError, match="no files named"):
        script.find_files(tmp_path, ["fr"])
    assert [path.name for path in script.find_files(tmp_path, ["de_DE"])] == ["dev.toy.de.jsonl.xz"]
