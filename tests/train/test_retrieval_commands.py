"""`xm train finetune|mine|distil` through the command line, on a tiny checkpoint."""

import json

import pytest
from safetensors import safe_open

from tests.tiny import SENTENCES, build_checkpoint
from xm.__main__ import main

WORDS = " ".join(SENTENCES).split()
ROWS = [
    {"question": " ".join(WORDS[i : i + 3]), "context": " ".join(WORDS[i + 1 : i + 9]), "source": "web"}
    for i in range(0, 48, 6)
]
RUN = ["--steps", "1", "--batch-size", "2", "--json"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A checkpoint and questions in two forms."""
    folder = tmp_path_factory.mktemp("commands")
    build_checkpoint(folder / "source")
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    triples = [f"{row['question']}\t{row['context']}\t{ROWS[i - 1]['context']}" for i, row in enumerate(ROWS)]
    (folder / "triples.tsv").write_text("\n".join(triples), encoding="utf-8")
    scores = [f"{line}\t{score}" for row in triples for line, score in _scored(row)]
    (folder / "scores.tsv").write_text("\n".join(scores), encoding="utf-8")
    return folder


def _scored(row):
    query, positive, negative = row.split("\t")
    return [(f"{query}\t{positive}", 3.0), (f"{query}\t{negative}", 1.0)]


def _run(capsys, *words):
    assert main(["train", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def _error(capsys, *words):
    assert main(["train", *map(str, words)]) == 2
    return capsys.readouterr().err


def test_finetune_takes_the_given_negatives_else_bm25_and_reports_which(data, capsys, tmp_path):
    out = tmp_path / "tuned"
    start = ["finetune", data / "source", out, "--pure", *RUN]
    facts = _run(capsys, *start, "--questions", data / "triples.tsv", "--heads", "4,8", "--no-attend-to-masks")
    expected = {"stage": "finetune", "checkpoint": str(out), "questions": 8, "negatives": "given", "pure": True}
    assert facts.items() >= expected.items() and facts["n_steps"] == 1
    with safe_open(out / "model.safetensors", framework="pt") as tensors:
        assert {"linear.weight", "linear_4.weight", "linear_8.weight"} <= set(tensors.keys())
    assert json.loads((out / "artifact.metadata").read_text())["attend_to_mask_tokens"] is False
    other = ["finetune", data / "source", tmp_path / "other", "--pure", *RUN]
    assert _run(capsys, *other, "--questions", data / "questions.jsonl")["negatives"] == "bm25"


def test_finetune_trains_the_twin_with_one_option(data, capsys, tmp_path):
    start = ["finetune", data / "source", tmp_path, *RUN, "--negatives", "in-batch"]
    _run(capsys, *start, "--questions", data / "questions.jsonl", "--single-vector", "max")
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text())["pooling_mode_max_tokens"] is True


def test_what_mine_writes_finetune_reads(data, capsys, tmp_path):
    mined = tmp_path / "mined.jsonl"
    asked = ["mine", data / "source", mined, "--questions", data / "questions.jsonl", "--candidates", "2", "--json"]
    assert _run(capsys, *asked, "--max-share", "9")["negatives"] == 16
    start = ["finetune", data / "source", tmp_path / "out", *RUN, "--n-negatives", "2"]
    assert _run(capsys, *start, "--questions", mined)["negatives"] == "given"


def test_distil_learns_from_a_file_of_scores(data, capsys, tmp_path):
    start = ["distil", data / "source", tmp_path, *RUN, "--scores", data / "scores.tsv"]
    facts = _run(capsys, *start, "--n-passages", "2", "--min-max", "both")
    assert facts.items() >= {"from": "scores", "questions": 8, "min_max": "both"}.items()


def test_bad_requests_are_refused_in_one_line(data, capsys, tmp_path):
    start, questions = ["finetune", data / "source", tmp_path / "x", *RUN], ["--questions", data / "questions.jsonl"]
    assert "names none" in _error(capsys, *start, *questions, "--negatives", "given")
    assert "no question of the sources" in _error(capsys, *start, *questions, "--sources", "nowhere")
    assert "no heads" in _error(capsys, *start, *questions, "--heads", "8", "--single-vector", "mean")
    assert "has no config.json" in _error(capsys, "finetune", tmp_path / "nothing", tmp_path / "x", *RUN, *questions)
    distil = ["distil", data / "source", tmp_path / "y", *RUN]
    assert "--texts and --questions" in _error(capsys, *distil, "--teacher", tmp_path)
    assert "name the questions" in _error(capsys, *distil, "--cross-encoder", tmp_path)
    assert "`xm train mine` first" in _error(
        capsys, *distil, *questions, "--cross-encoder", tmp_path, "--negatives", "self"
    )
