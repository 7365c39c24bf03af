"""One adapter per batch gives transformers' own floats, and reads nothing else from the file."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import XmodConfig, XmodModel

from tests.tiny import LANGUAGES, build_checkpoint
from xm.encoder import weights
from xm.encoder.xmod import read_xmod, route_adapters
from xm.errors import CheckpointError, LanguageError

IDS = torch.tensor([[0, 3, 20, 21, 22, 2], [0, 3, 30, 2, 1, 1]])
MASK = (IDS != 1).long()


def run(model: XmodModel, lang_id: int | list[int]) -> torch.Tensor:
    lang_ids = torch.tensor([lang_id] * len(IDS) if isinstance(lang_id, int) else lang_id)
    with torch.no_grad():
        return model(IDS, attention_mask=MASK, lang_ids=lang_ids).last_hidden_state


@pytest.fixture
def routed(tiny_folder: Path) -> XmodModel:
    model, _ = read_xmod(tiny_folder, languages=["de_DE", "ja_XX"])
    route_adapters(model)
    return model


FLAGS = ("ln_before_adapter", "adapter_reuse_layer_norm", "adapter_layer_norm", "pre_norm")


@pytest.mark.parametrize("values", list(itertools.product([False, True], repeat=len(FLAGS))))
def test_routing_gives_the_very_bits_of_transformers_under_every_flag(values: tuple[bool, ...], tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path, **dict(zip(FLAGS, values, strict=True)))
    stock, _ = read_xmod(folder, languages=None)
    model, _ = read_xmod(folder, languages=["ja_XX", "en_XX"])
    route_adapters(model)
    for lang_id, code in enumerate(["ja_XX", "en_XX"]):
        assert torch.equal(run(model, lang_id), run(stock, LANGUAGES.index(code)))


def test_the_reader_gives_what_transformers_reads_itself(tiny_folder: Path) -> None:
    stock = XmodModel(XmodConfig.from_pretrained(tiny_folder), add_pooling_layer=False).eval()
    tensors = load_file(tiny_folder / "model.safetensors")
    stock.load_state_dict({name.removeprefix("roberta."): tensors[name] for name in tensors if "linear" not in name})
    model, extra = read_xmod(tiny_folder, languages=None)
    assert torch.equal(run(model, 3), run(stock, 3))
    assert list(extra) == ["linear.weight"]
    assert torch.equal(extra["linear.weight"], tensors["linear.weight"])


def test_the_adapters_of_the_tiny_checkpoint_matter(routed: XmodModel) -> None:
    assert (run(routed, 0) - run(routed, 1)).abs().max() > 0.1


def test_a_batch_of_several_languages_is_refused(routed: XmodModel) -> None:
    with pytest.raises(ValueError, match=r"one adapter; got ids \[0, 1\]"):
        run(routed, [0, 1])


@pytest.mark.parametrize("lang_id", [2, 80, -1])
def test_an_id_without_adapter_is_an_error_not_a_silent_residual(routed: XmodModel, lang_id: int) -> None:
    with pytest.raises(ValueError, match=f"adapter id {lang_id} is not among the 2 loaded: de_DE, ja_XX"):
        run(routed, lang_id)


def test_autocast_works_where_transformers_own_crashes(routed: XmodModel) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        rough = run(routed, 0)
    assert (rough.float() - run(routed, 0)).abs().max() < 0.5


def test_routing_survives_a_copy_and_keeps_the_names_of_weights(tiny_folder: Path) -> None:
    model, _ = read_xmod(tiny_folder, languages=["de_DE"])
    names = list(model.state_dict())
    route_adapters(model)
    twin = copy.deepcopy(model)
    assert list(model.state_dict()) == names
    with torch.no_grad():
        twin.encoder.layer[0].output.adapter_modules["de_DE"].dense2.bias += 1
    assert not torch.equal(run(model, 0), run(twin, 0))  # each copy runs its own adapter


def test_a_gradient_reaches_the_adapter_that_ran_and_no_other(routed: XmodModel) -> None:
    routed(IDS, attention_mask=MASK, lang_ids=torch.tensor([1, 1])).last_hidden_state.square().sum().backward()
    adapters = routed.encoder.layer[0].output.adapter_modules
    assert adapters["ja_XX"].dense1.weight.grad.abs().sum() > 0
    assert adapters["de_DE"].dense1.weight.grad is None


def test_only_shared_weights_and_the_adapters_asked_for_are_read(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    read = weights.read_tensor
    monkeypatch.setattr(weights, "read_tensor", lambda tensors, name: seen.append(name) or read(tensors, name))
    model, _ = read_xmod(tiny_folder, languages=["ar_AR", "en_XX"])
    adapters = {name.split("adapter_modules.")[1].split(".")[0] for name in seen if "adapter_modules" in name}
    assert adapters == {"ar_AR", "en_XX"}
    assert model.config.languages == ["ar_AR", "en_XX"]
    assert model.config.default_language == "en_XX"


def test_a_default_language_that_is_not_kept_is_dropped(tiny_folder: Path) -> None:
    assert read_xmod(tiny_folder, languages=["de_DE"])[0].config.default_language is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_come_back_exactly_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    model, _ = read_xmod(build_checkpoint(tmp_path, dtype=dtype), languages=["en_XX"])
    stored = load_file(tmp_path / "model.safetensors")["roberta.embeddings.word_embeddings.weight"]
    assert model.embeddings.word_embeddings.weight.dtype is torch.float32
    assert torch.equal(model.embeddings.word_embeddings.weight.to(dtype), stored)


def test_a_language_without_adapter_is_named_with_those_there_are(tiny_folder: Path) -> None:
    with pytest.raises(LanguageError, match="no language adapter 'sw_KE'; it has 6: en_XX, de_DE"):
        read_xmod(tiny_folder, languages=["en_XX", "sw_KE"])


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a bert backbone; expected xmod"):
        read_xmod(build_checkpoint(tmp_path, backbone="bert"), languages=None)


def test_an_adapter_that_config_names_but_the_file_lacks_is_an_error(tmp_path: Path) -> None:
    config = build_checkpoint(tmp_path) / "config.json"
    config.write_text(config.read_text().replace('"hi_IN"', '"ta_IN"'))
    with pytest.raises(CheckpointError, match=r"lacks 4 tensors .*adapter_modules\.ta_IN\."):
        read_xmod(tmp_path, languages=["ta_IN"])
