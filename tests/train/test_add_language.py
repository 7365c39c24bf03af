"""A language added to a tiny checkpoint: what learns, what stays, what is measured and written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.train.texts import write_start, write_texts
from xm.encoder.adapters import install, read_adapter, write_adapter
from xm.encoder.exchange import merge_adapter
from xm.errors import TrainingError
from xm.train.add_language import AddedLanguage, add_language, grow, mlm_loss
from xm.train.loop import LoopOptions
from xm.train.material import HELD_ROWS, AddOptions, Material
from xm.train.mlm import HEAD_FILE, MaskedLanguageModel, load_head
from xm.train.own_rows import OwnRows
from xm.train.pretrain import PretrainOptions, pretrain
from xm.train.student import load_student

BATCH = AddOptions(batch_size=8, length=16)
OPTIONS = LoopOptions(n_steps=30, learning_rate=1e-2, save_every=4)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("add") / "texts")


@pytest.fixture(scope="module")
def source(texts: Path) -> Path:
    """A checkpoint of English and French, pretrained a little, with the MLM head that this left."""
    start, out = write_start(texts.parent / "start", texts), texts.parent / "source"
    options = LoopOptions(n_steps=60, learning_rate=3e-3)
    pretrain(start, out, texts=texts, batch=PretrainOptions(batch_size=8, length=16), options=options)
    return out


def add(source: Path, out: Path, text: Path, *, batch: AddOptions = BATCH) -> AddedLanguage:
    return add_language(source, out, code="it_IT", text=text, batch=batch, options=OPTIONS)


@pytest.fixture(scope="module")
def added(source: Path, texts: Path) -> AddedLanguage:
    return add(source, texts.parent / "added", texts / "it.txt")


def test_only_the_new_adapter_differs_and_it_starts_as_the_nearest(source: Path, added: AddedLanguage) -> None:
    assert added.change.nearest == min(added.nearest, key=added.nearest.__getitem__)
    assert list(added.nearest) == sorted(added.nearest, key=added.nearest.__getitem__)
    assert added.head == str(source / "run" / HEAD_FILE)
    stored = load_file(source / WEIGHTS)
    place = f"roberta.encoder.layer.0.output.adapter_modules.{added.change.nearest}.dense1.weight"
    moved = (added.adapter.tensors["layer.0.dense1.weight"] - stored[place].float()).abs().max()
    assert 0 < moved <= 2 * OPTIONS.n_steps * OPTIONS.learning_rate  # AdamW moves a weight by about its rate a step
    assert added.adapter.facts.n_rows == 0


def test_everything_but_the_adapter_stays(source: Path, texts: Path, added: AddedLanguage) -> None:
    before = load_student(source)[0].state_dict()
    trained = torch.load(texts.parent / "added" / "run" / "state.pt", weights_only=True)["model"]
    assert all(torch.equal(trained[f"student.{name}"], tensor) for name, tensor in before.items())
    head = load_file(source / "run" / HEAD_FILE)
    assert all(torch.equal(trained[name], tensor) for name, tensor in head.items())
    learned = {name for name in trained if name.removeprefix("student.") not in before and name not in head}
    assert learned == {name for name in trained if "it_IT" in name}


def test_the_file_gives_the_loss_that_was_measured(source: Path, texts: Path, added: AddedLanguage) -> None:
    student, tokens = load_student(source)
    material = Material(texts / "it.txt", tokens, BATCH, code="it_IT", seed=OPTIONS.seed)
    install(student.backbone, added.adapter)
    student.languages.append("it_IT")
    model = MaskedLanguageModel(student, material.counts, seen_only=True)
    load_head(model, source / "run" / HEAD_FILE)
    assert mlm_loss(model, material.held_batches(HELD_ROWS), "it_IT") == pytest.approx(added.change.after, abs=1e-5)


def test_training_lowers_the_held_out_loss(added: AddedLanguage) -> None:
    assert added.change.after < added.change.before - 0.02
    assert len(added.change.losses) == OPTIONS.n_steps


def test_tokens_that_moved_have_a_cosine_below_one(added: AddedLanguage) -> None:
    cosines = np.concatenate(added.change.cosines)
    assert [len(tokens) for tokens in added.change.tokens] == [len(cosines) for cosines in added.change.cosines]
    assert cosines.min() < 0.999
    assert cosines.max() <= 1 + 1e-5


def test_a_grown_adapter_gives_what_its_model_gives(source: Path) -> None:
    student, tokens = load_student(source)
    grow(student, "it_IT", like="fr_XX")
    with torch.inference_mode():
        new, old = (student(tokens.plain(["il gatto"], code, length=16)) for code in ("it_IT", "fr_XX"))
    assert torch.equal(new, old)
    weight = student.backbone.encoder.layer[0].output.adapter_modules["it_IT"].dense1.weight
    assert weight is not student.backbone.encoder.layer[0].output.adapter_modules["fr_XX"].dense1.weight


def test_only_rows_of_the_text_s_pieces_learn_and_the_table_stays(source: Path, texts: Path, tmp_path: Path) -> None:
    batch = AddOptions(batch_size=4, length=16, embeddings=True)
    added = add(source, tmp_path, texts / "it.txt", batch=batch)
    words = load_file(source / WEIGHTS)["roberta.embeddings.word_embeddings.weight"].float()
    student, tokens = load_student(source)
    used = set(Material(texts / "it.txt", tokens, BATCH, code="it_IT", seed=1).counts.nonzero()[0].tolist())
    ids = set(added.adapter.row_ids.tolist())
    assert ids
    assert ids <= used - {0, 1, 2, 3}
    moved = (added.adapter.rows - words[added.adapter.row_ids]).abs().amax(dim=1)
    assert (moved > 0).float().mean() > 0.5


def test_own_rows_add_to_their_rows_alone() -> None:
    words = torch.nn.Embedding(5, 2)
    own = OwnRows(words, torch.tensor([1, 3]), "it_IT")
    with torch.no_grad():
        own.added.copy_(torch.tensor([[1.0, 0.0], [0.0, 10.0]]))
    expected = words.weight.clone()
    expected[1, 0] += 1
    expected[3, 1] += 10
    assert torch.equal(own(torch.arange(5)), expected)
    assert torch.equal(own.values(), expected[[1, 3]])
    own.reads("fr_XX")
    assert torch.equal(own(torch.arange(5)), words.weight)


def test_a_checkpoint_without_an_mlm_head_learns_one_first(source: Path, texts: Path, tmp_path: Path) -> None:
    added = add(texts.parent / "start", tmp_path, texts / "it.txt")
    assert added.head == "learned first"


def test_the_file_is_read_back_and_merged(source: Path, added: AddedLanguage, tmp_path: Path) -> None:
    write_adapter(added.adapter, tmp_path / "it.safetensors")
    assert read_adapter(tmp_path / "it.safetensors").facts.notes["nearest"] == added.change.nearest
    merge_adapter(str(source), tmp_path / "it.safetensors", tmp_path / "merged")
    student, _ = load_student(tmp_path / "merged")
    assert student.languages == ["en_XX", "fr_XX", "it_IT"]


def test_an_interrupted_run_ends_bit_by_bit_where_an_uninterrupted_one_does(
    source: Path, texts: Path, added: AddedLanguage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, steps = Material.batch, []

    def killed(material: Material, step: int) -> object:
        steps.append(step)
        if len(steps) == 7:
            raise KeyboardInterrupt
        return batch(material, step)

    with monkeypatch.context() as patch:
        patch.setattr(Material, "batch", killed)
        with pytest.raises(KeyboardInterrupt):
            add(source, tmp_path, texts / "it.txt")
    again = add(source, tmp_path, texts / "it.txt")
    assert all(torch.equal(again.adapter.tensors[name], tensor) for name, tensor in added.adapter.tensors.items())
    assert again.change.after == added.change.after


def test_the_facts_are_ready_for_json(added: AddedLanguage) -> None:
    facts = json.loads(json.dumps(added.as_dict()))
    assert facts["language"] == "it_IT"
    assert set(facts["nearest_table"]) == {"en_XX", "fr_XX"}
    assert facts["kwh"] >= 0


def test_a_folder_with_another_text_s_run_is_refused(source: Path, texts: Path) -> None:
    with pytest.raises(TrainingError, match="another folder"):
        add(source, texts.parent / "added", texts / "en.txt")


def test_what_cannot_be_added_is_said(source: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="already"):
        add_language(source, tmp_path, code="fr_XX", text=texts / "it.txt", batch=BATCH, options=OPTIONS)
    short, thai = tmp_path / "short.txt", tmp_path / "thai.txt"
    short.write_text("il gatto dorme\n" * 3, encoding="utf-8")
    thai.write_text("แมวนอนบนหลังคา\n" * 400, encoding="utf-8")
    with pytest.raises(TrainingError, match="too short"):
        add(source, tmp_path, short)
    with pytest.raises(TrainingError, match="vocabulary"):
        add_language(source, tmp_path, code="th_TH", text=thai, batch=BATCH, options=OPTIONS)
    with pytest.raises(TrainingError, match="MLM head"):
        AddOptions(head=tmp_path / "nowhere")
