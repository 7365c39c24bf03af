"""Packing, masking, the order of languages, and pretraining a tiny model from cold and from a checkpoint."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

from tests.train.texts import TINY, write_start, write_texts
from xm.errors import TrainingError
from xm.train.loop import LoopOptions
from xm.train.mlm import HEAD_FILE, MaskedLanguageModel, load_head, masked_batch, save_head
from xm.train.packing import BOS, EOS, UNKNOWN, Masker, pack
from xm.train.pretrain import Diet, PretrainOptions, Size, pretrain, read_size
from xm.train.student import load_student

BATCH = PretrainOptions(batch_size=4, length=16)
OPTIONS = LoopOptions(n_steps=8, learning_rate=3e-3, save_every=3)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("pretrain") / "texts")


@pytest.fixture(scope="module")
def start(texts: Path) -> Path:
    return write_start(texts.parent / "start", texts)


@pytest.fixture(scope="module")
def tokenizer(start: Path) -> Tokenizer:
    return Tokenizer.from_file(str(start / "tokenizer.json"))


@pytest.fixture(scope="module")
def trained(start: Path, texts: Path) -> Path:
    pretrain(start, texts.parent / "out", texts=texts, batch=BATCH, options=OPTIONS)
    return texts.parent / "out"


def a_masker(tokenizer: Tokenizer) -> tuple[Masker, np.ndarray]:
    lines = ["the cat sleeps on the warm roof", "the old dog runs in the green garden"] * 40
    return Masker(tokenizer), pack(lines, tokenizer, length=32)[:4]


def test_packing_keeps_every_token_in_order_and_rows_are_full(tokenizer: Tokenizer) -> None:
    lines = ["the cat sleeps", "the dog runs in the garden"] * 3
    rows = pack(lines, tokenizer, length=8)
    stream = [i for line in lines for i in (*tokenizer.encode(line, add_special_tokens=False).ids, EOS)]
    assert rows[:, 1:-1].ravel().tolist() == stream[: rows.shape[0] * 6]
    assert len(stream) - rows.shape[0] * 6 < 6
    assert set(rows[:, 0]) == {BOS}
    assert set(rows[:, -1]) == {EOS}


def test_every_batch_masks_the_same_number_and_never_a_special_token(tokenizer: Tokenizer) -> None:
    masker, rows = a_masker(tokenizer)
    for seed in range(20):
        seen, positions, labels = masker(rows, language="en_XX", generator=np.random.default_rng(seed))
        assert len(positions) == round(0.25 * rows.size)
        assert (rows.ravel()[positions] == labels).all()
        assert not {BOS, EOS} & set(labels.tolist())
        untouched = np.setdiff1d(np.arange(rows.size), positions)
        assert (seen.ravel()[untouched] == rows.ravel()[untouched]).all()


def test_whole_words_are_masked_but_for_the_last(tokenizer: Tokenizer) -> None:
    masker, rows = a_masker(tokenizer)
    pieces = [tokenizer.id_to_token(i) for i in rows.ravel().tolist()]
    words = np.cumsum([i % rows.shape[1] == 0 or p.startswith(("▁", "<")) for i, p in enumerate(pieces)])
    assert len(set(words.tolist())) < 0.8 * len(words)  # words here are of several pieces
    for seed in range(20):
        _, positions, _ = masker(rows, language="en_XX", generator=np.random.default_rng(seed))
        masked, sizes = Counter(words[positions].tolist()), Counter(words.tolist())
        assert sum(masked[word] < sizes[word] for word in masked) <= 1
    _, positions, _ = masker(rows, language="th_TH", generator=np.random.default_rng(0))
    masked = Counter(words[positions].tolist())
    assert sum(masked[word] < sizes[word] for word in masked) > 5  # without spaces each piece is a word


def test_four_fifths_of_the_masked_show_the_mask_and_a_tenth_what_was_there(tokenizer: Tokenizer) -> None:
    masker, rows = a_masker(tokenizer)
    rows = np.tile(rows, (60, 1))
    seen, positions, labels = masker(rows, language="en_XX", generator=np.random.default_rng(1))
    shown = seen.ravel()[positions]
    assert np.mean(shown == tokenizer.token_to_id("<mask>")) == pytest.approx(0.8, abs=0.04)
    assert np.mean(shown == labels) == pytest.approx(0.1, abs=0.04)


def test_a_text_of_unknown_pieces_is_an_error(tokenizer: Tokenizer) -> None:
    rows = pack(["the ☃☃☃ ☃☃ ☃"] * 50, tokenizer, length=16)
    rows[:, 1:-4] = UNKNOWN
    with pytest.raises(TrainingError, match="script"):
        Masker(tokenizer)(rows, language="ko_KR", generator=np.random.default_rng(0))


def test_the_loss_equals_a_plain_softmax_over_the_vocabulary(start: Path, tokenizer: Tokenizer) -> None:
    student, tokens = load_student(start, device="cpu")
    model = MaskedLanguageModel(student, np.arange(TINY.vocab))
    masker, rows = a_masker(tokenizer)
    batch = masked_batch(rows, masker, "fr_XX", seed=(1, 2), device=tokens.device)
    states = student.hidden(batch.tokens).reshape(-1, TINY.width)
    words = student.backbone.embeddings.word_embeddings.weight
    slow = []
    for position, label in zip(batch.positions.tolist(), batch.labels.tolist(), strict=True):
        logits = words @ model.norm(functional.gelu(model.transform(states[position]))) + model.bias
        slow.append((logits.logsumexp(0) - logits[label]).item())
    assert model(batch).item() == pytest.approx(np.mean(slow), abs=1e-5)


def test_languages_are_drawn_by_size_to_a_power() -> None:
    options = LoopOptions(n_steps=1_500, learning_rate=1.0)
    for sampling, share in ((0.0, 0.5), (0.5, 0.75), (1.0, 0.9)):
        diet = Diet({"en_XX": 900, "fr_XX": 100}, PretrainOptions(batch_size=1, sampling=sampling), options)
        drawn = Counter(diet(step)[0] for step in range(options.n_steps))
        assert drawn["en_XX"] / options.n_steps == pytest.approx(share, abs=0.04)


def test_a_language_s_rows_are_all_read_before_one_is_read_again() -> None:
    diet = Diet({"en_XX": 7}, PretrainOptions(batch_size=3), LoopOptions(n_steps=7, learning_rate=1.0))
    read = np.concatenate([diet(step)[1] for step in range(7)])
    assert [sorted(read[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert read[:7].tolist() != read[7:14].tolist()


def test_pretraining_moves_adapters_and_shared_weights_and_leaves_the_head(start: Path, trained: Path) -> None:
    before, after = load_file(start / WEIGHTS), load_file(trained / WEIGHTS)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "linear.weight" not in changed
    for part in ("word_embeddings", "attention.self.query", "adapter_modules.en_XX", "adapter_modules.fr_XX"):
        assert any(part in name for name in changed), part
    assert before.keys() == after.keys()  # no MLM head in what ships


def test_an_interrupted_run_ends_bit_by_bit_where_an_uninterrupted_one_does(
    start: Path, texts: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = MaskedLanguageModel.forward, []

    def killed(model: MaskedLanguageModel, batch: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return forward(model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(MaskedLanguageModel, "forward", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(start, tmp_path, texts=texts, batch=BATCH, options=OPTIONS)
    assert not (tmp_path / WEIGHTS).exists()
    pretrain(start, tmp_path, texts=texts, batch=BATCH, options=OPTIONS)
    whole, again = load_file(trained / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    one, other = load_file(trained / "run" / HEAD_FILE), load_file(tmp_path / "run" / HEAD_FILE)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_pretraining_learns_what_comes_after_what(start: Path, texts: Path, tmp_path: Path) -> None:
    options = LoopOptions(n_steps=60, learning_rate=5e-3)
    report = pretrain(start, tmp_path, texts=texts, batch=PretrainOptions(batch_size=8, length=32), options=options)
    assert np.mean(report.losses[-10:]) < np.mean(report.losses[:10]) - 0.3
    assert set(report.loss_by_label) == {"en_XX", "fr_XX"}
    assert report.n_tokens == 60 * 8 * 32


def test_the_mlm_head_is_saved_and_a_misfit_refused(start: Path, tmp_path: Path) -> None:
    student, _ = load_student(start)
    model, other = (MaskedLanguageModel(student, np.arange(TINY.vocab)) for _ in range(2))
    torch.nn.init.normal_(model.transform.weight)
    save_head(model, tmp_path)
    load_head(other, tmp_path / HEAD_FILE)
    assert torch.equal(model.transform.weight, other.transform.weight)
    wider = MaskedLanguageModel(student, np.ones(TINY.vocab + 1))
    with pytest.raises(TrainingError, match="bias"):
        load_head(wider, tmp_path / HEAD_FILE)


def test_sizes_are_read_and_wrong_ones_named() -> None:
    assert read_size(["layers=3", "width=96", "heads=6"]) == Size(layers=3, width=96, heads=6)
    for wrong in ("depth=3", "layers=0", "layers", "width=-4"):
        with pytest.raises(TrainingError, match="layers=4"):
            read_size([wrong])
    with pytest.raises(TrainingError, match="multiple"):
        read_size(["width=50", "heads=4"])


def test_rows_longer_than_the_model_reads_are_refused(start: Path, texts: Path, tmp_path: Path) -> None:
    for batch in (PretrainOptions(length=513), PretrainOptions(length=4), PretrainOptions(length=16, masked=1.0)):
        with pytest.raises(TrainingError, match="expected|reads 8 to 512"):
            pretrain(start, tmp_path, texts=texts, batch=batch, options=OPTIONS)


def test_a_text_too_short_for_a_row_is_named(start: Path, tmp_path: Path) -> None:
    for language in ("en", "fr"):
        (tmp_path / f"{language}.txt").write_text("the cat\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"en\.txt"):
        pretrain(start, tmp_path / "out", texts=tmp_path, batch=PretrainOptions(length=64), options=OPTIONS)
