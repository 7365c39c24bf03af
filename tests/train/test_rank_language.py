"""A language added by learning to rank: what learns, what stays, what is measured, resuming, and the command."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.texts import WORDS, write_start, write_texts
from xm.__main__ import main
from xm.encoder.adapters import install, read_adapter
from xm.errors import TrainingError
from xm.train.add_language import AddedLanguage
from xm.train.bm25 import Ranking
from xm.train.cloze import read_paragraphs
from xm.train.loop import LoopOptions
from xm.train.rank_language import RankOptions, rank_language
from xm.train.student import load_student

OPTIONS = LoopOptions(n_steps=40, learning_rate=1e-2, save_every=4)
BATCH = RankOptions(batch_size=4)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds an untrained checkpoint of English and French, `source`, and long Italian paragraphs, it.txt."""
    folder, draw = tmp_path_factory.mktemp("rank"), random.Random(0)
    write_start(folder / "source", write_texts(folder / "texts"))
    sentences = [" ".join(draw.choices(WORDS["it"], k=6)) + "." for _ in range(1_200)]
    paragraphs = [" ".join(sentences[start : start + 10]) for start in range(0, len(sentences), 10)]
    (folder / "it.txt").write_text("\n".join(paragraphs), encoding="utf-8")
    return folder


def add(
    folder: Path, out: Path, *, code: str = "it_IT", text: str = "it.txt", batch: RankOptions = BATCH
) -> AddedLanguage:
    return rank_language(folder / "source", out, code=code, text=folder / text, batch=batch, options=OPTIONS)


@pytest.fixture(scope="module")
def added(folder: Path) -> AddedLanguage:
    return add(folder, folder / "added")


def test_the_adapter_ranks_held_out_text_more_like_bm25(added: AddedLanguage) -> None:
    assert added.change.after < added.change.before
    assert added.change.nearest == min(added.nearest, key=added.nearest.__getitem__)
    assert set(added.nearest) == {"en_XX", "fr_XX"}
    assert added.change.task == "ranking"


def test_everything_but_the_adapter_stays(folder: Path, added: AddedLanguage) -> None:
    stored = load_file(folder / "source" / WEIGHTS)
    place = f"roberta.encoder.layer.0.output.adapter_modules.{added.change.nearest}.dense1.weight"
    moved = (added.adapter.tensors["layer.0.dense1.weight"] - stored[place].float()).abs().max()
    assert 0 < moved <= 2 * OPTIONS.n_steps * OPTIONS.learning_rate  # AdamW moves a weight by about its rate a step
    before = load_student(folder / "source")[0].state_dict()
    after = torch.load(folder / "added" / "run" / "state.pt", weights_only=True)["model"]
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name for name in after if name not in before} == {name for name in after if ".it_IT." in name}


def test_the_file_gives_the_divergence_that_was_measured(folder: Path, added: AddedLanguage) -> None:
    student, texts = load_student(folder / "source")
    install(student.backbone, added.adapter)
    student.languages.append("it_IT")
    paragraphs = read_paragraphs(folder / "it.txt")
    ranking = Ranking.of(texts, paragraphs[:-16])
    held = Ranking.of(texts, paragraphs[-16:], bm25=ranking.bm25)
    with torch.inference_mode():
        batches = [held.draw(random.Random(f"{OPTIONS.seed}/held/{i}"), size=4) for i in range(6)]
        losses = [held.loss(student.eval(), pairs, "it_IT")[0].item() for pairs in batches]
    assert sum(losses) / 6 == pytest.approx(added.change.after, rel=0.05)  # the file holds half precision


def test_an_interrupted_run_ends_bit_by_bit_where_an_uninterrupted_one_does(
    folder: Path, added: AddedLanguage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = Ranking.loss, []

    def killed(*args: object) -> object:
        calls.append(args)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Ranking, "loss", killed)
        with pytest.raises(KeyboardInterrupt):
            add(folder, tmp_path)
    assert (tmp_path / "run" / "state.pt").is_file()
    again = add(folder, tmp_path)
    assert all(torch.equal(again.adapter.tensors[name], tensor) for name, tensor in added.adapter.tensors.items())


def test_what_cannot_be_added_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="already"):
        add(folder, tmp_path, code="fr_XX")
    few, thai = folder / "few.txt", folder / "thai.txt"
    few.write_text("Il gatto dorme. " * 20 + "\n" + "Il cane corre. \n" * 400, encoding="utf-8")
    thai.write_text(("แมวนอนบนหลังคา " * 20 + "\n") * 100, encoding="utf-8")
    with pytest.raises(TrainingError, match="paragraphs"):
        add(folder, tmp_path, text="few.txt")
    few.write_text(("Il gatto dorme. " * 20 + "\n") * 31, encoding="utf-8")
    with pytest.raises(TrainingError, match="too short"):
        add(folder, tmp_path, text="few.txt")
    with pytest.raises(TrainingError, match="vocabulary"):
        add(folder, tmp_path, code="th_TH", text="thai.txt")


def test_the_command_writes_adapter_checkpoint_and_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(folder / "source"), str(tmp_path / "out"), "--text", str(folder / "it.txt")]
    written = ["--merge", str(tmp_path / "merged"), "--picture", str(tmp_path / "changed.html")]
    arguments = ["train", "add-language", "it", *paths, *written, "--ranking", "--steps", "2", "--batch-size", "4"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["language"] == "it_IT"
    assert read_adapter(tmp_path / "out" / "it_IT.safetensors").facts.notes["taught"] == "BM25"
    assert load_student(tmp_path / "merged")[0].languages == ["en_XX", "fr_XX", "it_IT"]
    assert "divergence from BM25" in (tmp_path / "changed.html").read_text(encoding="utf-8")
    assert main([*arguments, "--head", str(folder / "it.txt")]) == 2
    assert "leave --head out" in capsys.readouterr().err
