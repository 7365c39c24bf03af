"""What an added language learns from parallel sentences: what is held out, what moves, resuming, and the command."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.texts import TINY, WORDS, write_texts
from xm import maxsim
from xm.__main__ import main
from xm.encoder import load_encoder
from xm.encoder.adapters import read_adapter, write_adapter
from xm.errors import TrainingError
from xm.figures.training import figure
from xm.train.add_language import AddedLanguage
from xm.train.data import ParallelPair, language_files
from xm.train.finetune import Side
from xm.train.loop import LoopOptions
from xm.train.own_rows import give_rows
from xm.train.pretrain import cold_start
from xm.train.rank_language import RankOptions, rank_language
from xm.train.student import load_student
from xm.train.translations import Translations
from xm.types import LanguageGuess

OPTIONS = LoopOptions(n_steps=80, learning_rate=1e-2, save_every=4)
ITALIAN, ENGLISH = (LanguageGuess(code, 1.0, "given") for code in ("it_IT", "en_XX"))


def pairs_of(n: int) -> list[ParallelPair]:
    """Make Italian sentences whose English is the same words, one by one."""
    draw, words = random.Random(1), list(zip(WORDS["it"], WORDS["en"], strict=False))
    chosen = [draw.sample(words, 4) for _ in range(n)]
    return [ParallelPair("it_IT", " ".join(a for a, _ in row), " ".join(b for _, b in row)) for row in chosen]


PAIRS = pairs_of(400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds an untrained checkpoint of English and French, `source`, Italian paragraphs, and parallel sentences."""
    folder, draw = tmp_path_factory.mktemp("translations"), random.Random(0)
    texts = language_files(write_texts(folder / "texts"), ["en_XX", "fr_XX", "it_IT"])
    size = replace(TINY, vocab=84)  # room for whole words of all three
    cold_start(texts, folder / "source", size=size, seed=1, languages=["en_XX", "fr_XX"])
    sentences = [" ".join(draw.choices(WORDS["it"], k=6)) + "." for _ in range(1_200)]
    paragraphs = [" ".join(sentences[start : start + 10]) for start in range(0, len(sentences), 10)]
    (folder / "it.txt").write_text("\n".join(paragraphs), encoding="utf-8")
    rows = ["it\ten", *(f"{pair.text}\t{pair.english}" for pair in PAIRS)]
    (folder / "it-en.tsv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def add(folder: Path, out: Path, *, options: LoopOptions = OPTIONS, embeddings: bool = True) -> AddedLanguage:
    batch = RankOptions(4, PAIRS, n_parallel=16, embeddings=embeddings)
    source, text = folder / "source", folder / "it.txt"
    return rank_language(source, out, code="it_IT", text=text, batch=batch, options=options)


@pytest.fixture(scope="module")
def added(folder: Path) -> AddedLanguage:
    return add(folder, folder / "added")


def test_held_out_sentences_find_their_translations(folder: Path, added: AddedLanguage, tmp_path: Path) -> None:
    before, after = added.change.found
    assert before < 0.2
    assert after > 0.8
    assert added.as_dict()["translations_found"] == [round(before, 4), round(after, 4)]
    alone = add(folder, tmp_path, embeddings=False)
    assert alone.change.found[0] == before
    assert alone.change.found[1] > 0.6
    assert not alone.adapter.facts.n_rows


def test_the_file_finds_them_in_an_encoder_too(folder: Path, added: AddedLanguage, tmp_path: Path) -> None:
    write_adapter(added.adapter, tmp_path / "it.safetensors")
    encoder = load_encoder(str(folder / "source"))
    english = encoder.encode_passages([pair.english for pair in PAIRS[::10]], [ENGLISH] * 40)
    encoder.import_adapter(tmp_path / "it.safetensors")
    again = encoder.encode_passages([pair.english for pair in PAIRS[::10]], [ENGLISH] * 40)
    assert all(np.array_equal(one.vectors, other.vectors) for one, other in zip(english, again, strict=True))
    asked = [encoder.encode_query(pair.text, ITALIAN) for pair in PAIRS[::10]]
    best = [np.argmax([maxsim.maxsim(query.vectors, passage.vectors) for passage in english]) for query in asked]
    assert np.mean([place == i for i, place in enumerate(best)]) > 0.8


def test_own_rows_are_read_by_their_language_alone(folder: Path) -> None:
    student, texts = load_student(folder / "source")
    french, english = (texts.plain(["the cat sleeps"], code, length=16) for code in ("fr_XX", "en_XX"))
    before = student(french), student(english)
    counts = np.zeros(84, np.int64)
    counts[english.ids[0].tolist()] = 1
    own = give_rows(student.backbone.embeddings, "fr_XX", counts)
    assert set(own.ids.tolist()) == set(english.ids[0].tolist()) - {0, 1, 2}  # <s>, <pad> and </s> are everybody's
    with torch.no_grad():
        own.added.fill_(0.5).mul_(torch.randn_like(own.added))
    assert torch.equal(student(english), before[1])
    assert not torch.allclose(student(french), before[0], atol=0.01)


def test_what_is_held_out_is_not_learnt() -> None:
    doubled = [*PAIRS, *(replace(pair, english="cat") for pair in PAIRS[:60]), *pairs_of(30)]
    lessons = Translations(doubled, size=16, seed=1)
    texts, english = {pair.text for pair in lessons.held}, {pair.english for pair in lessons.held}
    assert len(texts) == len(english) == len(lessons.held) == 38  # of 49 drawn, 11 share a text with another
    assert not [pair for pair in lessons.learnt if pair.text in texts or pair.english in english]
    assert (
        len(Translations([ParallelPair("it_IT", str(i), str(-i)) for i in range(9_000)], size=16, seed=1).held) == 200
    )
    with pytest.raises(TrainingError, match="49 parallel"):
        Translations(PAIRS[:49], size=16, seed=1)


def test_both_directions_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(student: object, texts: object, asked: Side, read: Side) -> tuple[list[torch.Tensor], int]:
        right = torch.eye(len(asked.texts))
        return [right if asked.language == "it_IT" else right.roll(1, 0)], 0

    monkeypatch.setattr("xm.train.translations.score_texts", scored)
    student, texts = load_student(folder / "source")
    assert Translations(PAIRS, size=16, seed=1).found(student, texts, "it_IT") == 0.5


def test_the_curve_shows_divergence_from_bm25_alone(added: AddedLanguage) -> None:
    losses = added.change.losses
    assert np.isnan(losses[1::2]).all()
    assert np.isfinite(losses[::2]).all()
    drawn = figure(added.change)
    assert drawn.data[0].connectgaps
    assert f"first: {added.change.found[0]:.0%}, {added.change.found[1]:.0%} after" in drawn.layout.title.subtitle.text
    assert set(added.report.loss_by_label) == {"it_IT", "parallel it_IT"}


def test_an_interrupted_run_ends_bit_by_bit_where_an_uninterrupted_one_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(OPTIONS, n_steps=12)
    whole = add(folder, tmp_path / "whole", options=short)
    with monkeypatch.context() as patch:
        patch.setattr(Translations, "loss", dying(Translations.loss, after=4))
        with pytest.raises(KeyboardInterrupt):
            add(folder, tmp_path / "halved", options=short)
    again = add(folder, tmp_path / "halved", options=short)
    assert torch.equal(again.adapter.rows, whole.adapter.rows)
    assert all(torch.equal(again.adapter.tensors[name], tensor) for name, tensor in whole.adapter.tensors.items())


def dying(loss: Callable, *, after: int) -> Callable:
    """Wrap a function so that it is interrupted after some calls."""
    calls: list[object] = []

    def wrapped(*args: object) -> object:
        calls.append(args)
        if len(calls) > after:
            raise KeyboardInterrupt
        return loss(*args)

    return wrapped


def test_the_command_learns_from_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(folder / "source"), str(tmp_path / "out"), "--text", str(folder / "it.txt")]
    parallel = ["--parallel", str(folder / "it-en.tsv")]
    arguments = ["train", "add-language", "it", *paths, "--steps", "2", "--batch-size", "4"]
    assert main([*arguments, "--ranking", "--embeddings", *parallel, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["translations_found"]) == 2
    facts = read_adapter(tmp_path / "out" / "it_IT.safetensors").facts
    assert facts.n_rows == 17  # the Italian words
    assert facts.notes["taught"] == "BM25, translations"
    assert main([*arguments, *parallel]) == 2
    assert "goes with --ranking" in capsys.readouterr().err
    arguments[2] = "sw"
    assert main([*arguments, "--ranking", *parallel]) == 2
    assert "no sentences in sw_KE" in capsys.readouterr().err
