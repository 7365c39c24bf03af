"""Number formats: int8 layers stay within their rounding, and what is asked for is what runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.encoder.conftest import EXACT
from tests.tiny import SENTENCES
from xm.encoder import precision
from xm.encoder.encoder import Encoder
from xm.encoder.precision import Int8Linear, choose_precision, lower
from xm.options import EncodeOptions
from xm.types import LanguageGuess

GERMAN = LanguageGuess("de_DE", 1.0, "given")


def test_an_int8_layer_worked_by_hand() -> None:
    linear = nn.Linear(2, 1)
    linear.weight.data = torch.tensor([[127.0, -63.0]])  # scale 1
    linear.bias.data = torch.tensor([5.0])
    # Inputs from 0 to 127 in 128 steps of 1: 3 * 127 - 127 * 63 + 5
    found = Int8Linear(linear)(torch.tensor([[3.0, 127.0]]))
    assert found.item() == pytest.approx(3 * 127 - 127 * 63 + 5)


def test_int8_layers_stay_within_their_rounding() -> None:
    torch.manual_seed(0)
    linear, hidden = nn.Linear(64, 32), torch.randn(50, 64)
    linear.weight.data[0] *= 1e-3  # each output has a scale of its own
    with torch.inference_mode():
        exact, rough = linear(hidden), Int8Linear(linear)(hidden)
        step_in = (hidden.max() - hidden.min()) / 127
        step_out = linear.weight.abs().amax(dim=1) / 127
        bound = 0.5 * (step_in * linear.weight.abs().sum(dim=1) + step_out * (hidden.abs() + step_in).sum(dim=1).max())
        assert 0 < (exact - rough).abs().max()
        assert ((exact - rough).abs() <= bound).all()


def test_great_values_do_not_overflow() -> None:
    linear = nn.Linear(512, 1, bias=False)
    linear.weight.data.fill_(1.0)
    with torch.inference_mode():
        found = Int8Linear(linear)(torch.full((1, 512), 3.0))
    assert found.item() == pytest.approx(1536, rel=0.01)  # sums of products of 127 * 127, beyond 16 bits


def test_a_layer_of_zeros_stays_zero() -> None:
    linear = nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    with torch.inference_mode():
        assert torch.allclose(Int8Linear(linear)(torch.randn(2, 4)), linear.bias)


def test_lowering_leaves_norms_alone_in_int8() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)))
    lower(block, "int8")
    assert [type(part) for part in block.modules() if not isinstance(part, nn.Sequential)] == [
        Int8Linear,
        nn.LayerNorm,
        Int8Linear,
    ]


def test_what_is_asked_for_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "fast_precision", lambda: "bfloat16")
    assert choose_precision(EncodeOptions()) == "bfloat16"
    assert choose_precision(EncodeOptions(precision="float32")) == "float32"
    assert choose_precision(EncodeOptions(precision="int8")) == "int8"
    assert choose_precision(EncodeOptions(precision="int8", exact=True)) == "float32"


@pytest.mark.parametrize("name", ["int8", "bfloat16"])
def test_rough_vectors_are_near_the_exact_ones_through_lazy_adapters_too(name: str, tiny_folder: Path) -> None:
    exact = Encoder(tiny_folder, model="m", revision="r", options=EXACT)
    rough = Encoder(tiny_folder, model="m", revision="r", options=EncodeOptions(precision=name))
    texts = list(SENTENCES[:4])
    assert rough.precision == name
    for near, far in zip(
        exact.encode_passages(texts, [GERMAN] * 4), rough.encode_passages(texts, [GERMAN] * 4), strict=True
    ):
        assert far.vectors.dtype == np.float32
        assert 0 < np.abs(near.vectors - far.vectors).max()
        assert (near.vectors * far.vectors).sum(axis=1).min() > 0.97
