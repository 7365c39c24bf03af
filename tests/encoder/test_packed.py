"""Texts laid end to end give transformers' own hidden states, whatever the backbone's flags."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.tiny import LANGUAGES, build_checkpoint
from xm.encoder.packed import Rows, can_pack, pack, run_packed
from xm.encoder.weights import build_backbone, open_weights, read_config
from xm.encoder.xmod import read_xmod

FLAGS = ("ln_before_adapter", "adapter_reuse_layer_norm", "adapter_layer_norm", "pre_norm")
PAD = 1


def tokens(*ids: int, n_attended: int | None = None) -> SimpleNamespace:
    """As much of a TextTokens as packing looks at."""
    attended = np.arange(len(ids)) < (len(ids) if n_attended is None else n_attended)
    return SimpleNamespace(ids=np.array(ids, np.int32), attended=attended)


# Two of one length, then others; a typed padding token; masks that are not attended to.
TEXTS = [
    tokens(0, 3, 20, 21, 22, 2),
    tokens(0, 3, 30, PAD, 31, 2),
    tokens(0, 3, 40, 2),
    tokens(0, 3, 40, 2, 50, 50, n_attended=4),
    tokens(0, 3, 60, 61, 62, 63, 64, 65, 66, 2),
]


def one_by_one(model: torch.nn.Module, lang_id: int | None) -> torch.Tensor:
    """transformers' own forward, a text at a time."""
    found = []
    for text in TEXTS:
        inputs = {
            "input_ids": torch.tensor([text.ids.tolist()]),
            "attention_mask": torch.from_numpy(text.attended).long()[None],
        }
        if lang_id is not None:
            inputs["lang_ids"] = torch.tensor([lang_id])
        found.append(model(**inputs).last_hidden_state[0])
    return torch.cat(found)


@pytest.mark.parametrize("values", list(itertools.product([False, True], repeat=len(FLAGS))))
def test_xmod_under_every_flag(values: tuple[bool, ...], tmp_path: Path) -> None:
    model, _ = read_xmod(build_checkpoint(tmp_path, **dict(zip(FLAGS, values, strict=True))), languages=None)
    with torch.inference_mode():
        found = run_packed(model, pack(TEXTS, ["ja_XX"] * 5, model.config))
        assert (found - one_by_one(model, LANGUAGES.index("ja_XX"))).abs().max() < 2e-5
        assert (found - one_by_one(model, LANGUAGES.index("en_XX"))).abs().max() > 0.01


def test_each_text_goes_through_its_own_adapter_and_its_own_rows(tiny_folder: Path) -> None:
    model, _ = read_xmod(tiny_folder, languages=["de_DE", "ja_XX"])
    codes = ["de_DE", "de_DE", "ja_XX", "de_DE", "ja_XX"]
    rows = {"ja_XX": Rows(torch.tensor([40]), torch.randn(1, 48))}
    with torch.inference_mode():
        mixed = run_packed(model, pack(TEXTS, codes, model.config), rows)
        alone = [
            run_packed(model, pack([text], [code], model.config), rows) for text, code in zip(TEXTS, codes, strict=True)
        ]
    assert (mixed - torch.cat(alone)).abs().max() < 2e-5


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_backbones_without_adapters(backbone: str, tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path, backbone=backbone)
    model = build_backbone(read_config(folder), open_weights(folder))
    with torch.inference_mode():
        found = run_packed(model, pack(TEXTS, [""] * 5, model.config))
        assert (found - one_by_one(model, None)).abs().max() < 2e-5


def test_packing_worked_by_hand(tiny_folder: Path) -> None:
    packed = pack(TEXTS, ["a", "a", "b", "b", "a"], read_config(tiny_folder))
    assert packed.languages == (("a", 12), ("b", 10), ("a", 10))
    assert [(run.start, run.n_texts, run.length, run.n_keys) for run in packed.runs] == [
        (0, 2, 6, 6),
        (12, 1, 4, 4),
        (16, 1, 6, 4),
        (22, 1, 10, 10),
    ]
    assert packed.positions[:12].tolist() == [2, 3, 4, 5, 6, 7, 2, 3, 4, PAD, 5, 6]


def test_own_rows_stand_in_for_the_tables(tiny_folder: Path) -> None:
    model, _ = read_xmod(tiny_folder, languages=["de_DE"])
    rows = Rows(torch.tensor([21, 61]), torch.randn(2, 48))
    packed = pack(TEXTS, ["de_DE"] * 5, model.config)
    with torch.inference_mode():
        found = run_packed(model, packed, {"de_DE": rows})
        model.embeddings.word_embeddings.weight[rows.ids] = rows.values
        assert torch.equal(found, run_packed(model, packed))


def test_other_backbones_and_activations_are_left_to_transformers(tmp_path: Path) -> None:
    assert not can_pack(read_config(build_checkpoint(tmp_path / "relu", hidden_act="relu")))
    assert not can_pack(read_config(build_checkpoint(tmp_path / "modern", backbone="modernbert")))
    assert can_pack(read_config(build_checkpoint(tmp_path / "xmod")))
