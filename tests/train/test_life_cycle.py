"""The paper's four steps on tiny data through the command line: pretrain, fine-tune, another language, one more."""

import json
from pathlib import Path

import pytest

from tests.train.texts import TINY, WORDS, write_texts
from xm.__main__ import main

RUN = ["--seed", "3", "--json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts in three languages, English questions, and a corpus in French and one in Italian."""
    folder = tmp_path_factory.mktemp("life")
    texts = write_texts(folder / "texts")
    lines = (texts / "en.txt").read_text(encoding="utf-8").splitlines()[:24]
    rows = [{"question": " ".join(line.split()[:4]), "context": line, "source": "clapnq"} for line in lines]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for language in ("fr", "it"):
        passages = (texts / f"{language}.txt").read_text(encoding="utf-8").splitlines()[:5]
        (folder / f"{language}.txt").write_text("\n\n".join(passages), encoding="utf-8")
    return folder


def facts_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """Run a command that must work, and return its JSON."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def found(capsys: pytest.CaptureFixture[str], folder: Path, checkpoint: Path, language: str) -> dict:
    """Index a corpus in a language and search it for its first passage."""
    corpus, index = folder / f"{language}.txt", folder / f"index-{language}"
    facts_of(capsys, "index", corpus, "--out", index, "--model", checkpoint, "--language", language, "--json")
    query = corpus.read_text(encoding="utf-8").split("\n\n")[0]
    return facts_of(capsys, "search", index, query, "--language", language, "--json")


def test_the_four_steps(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XM_CACHE", str(folder / "cache"))
    pretrained, tuned, merged = folder / "pretrained", folder / "tuned", folder / "merged"
    texts, picture = folder / "texts", folder / "picture.html"

    sizes = [f"{name}={getattr(TINY, name)}" for name in ("layers", "width", "heads", "reduction", "vocab", "dim")]
    cold = ["--texts", texts, "--languages", "en,fr", "--batch-size", 4, "--length", 16, "--config", *sizes]
    facts = facts_of(capsys, "train", "pretrain", pretrained, *cold, "--steps", 20, *RUN)
    assert (facts["n_steps"], set(facts["loss_by_label"])) == (20, {"en_XX", "fr_XX"})

    questions = ["--questions", folder / "questions.jsonl", "--pure"]
    facts = facts_of(capsys, "train", "finetune", pretrained, tuned, *questions, "--steps", 3, *RUN)
    assert facts["checkpoint"] == str(tuned)

    result = found(capsys, folder, tuned, "fr")  # no French question was ever seen
    assert result["adapter"] == "fr_XX"
    assert len(result["hits"]) == 5

    text = ["--text", texts / "it.txt", "--batch-size", 4, "--length", 16, "--steps", 10]
    into = ["--merge", merged, "--into", tuned, "--picture", picture]
    facts = facts_of(capsys, "train", "add-language", "it", pretrained, folder / "italian", *text, *into, *RUN)
    assert facts["mlm_head"] == str(pretrained / "run" / "mlm_head.safetensors")
    assert facts["language"] == "it_IT"
    assert facts["nearest"] in ("en_XX", "fr_XX")
    assert Path(facts["adapter"]).is_file()
    assert "it_IT" in picture.read_text(encoding="utf-8")

    result = found(capsys, folder, merged, "it")
    assert result["adapter"] == "it_IT"
    assert any(word in result["hits"][0]["text"] for word in WORDS["it"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pretrain", "out", "--texts", "nowhere"], "--languages"),
        (["pretrain", "out", "--texts", "nowhere", "--languages", "en", "--source", "x"], "--source"),
        (["pretrain", "out", "--texts", "nowhere", "--languages", "en"], "en.txt"),
        (["add-language", "it", "x", "out", "--text", "y", "--embeddings", "--merge", "z"], "--share-rows"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
