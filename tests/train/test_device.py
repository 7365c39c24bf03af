"""Where training runs, and that losses are float32 whatever the layers run in."""

from pathlib import Path

import pytest
import torch

from tests.train.texts import write_start, write_texts
from xm.errors import TrainingError
from xm.train import device
from xm.train.student import load_student


def test_auto_takes_the_processor_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device().type == "cpu"
    with pytest.raises(TrainingError, match="--device cuda"):
        device.choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (device.choose_device().type, device.choose_device("cpu").type) == ("cuda", "cpu")


def test_layers_in_bfloat16_give_float32_states_near_those_of_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, texts = load_student(write_start(tmp_path / "start", write_texts(tmp_path / "texts")), device="cpu")
    batch = texts.plain(["the cat sleeps"], "en_XX", length=16)
    states = {}
    for precision in ("float32", "bfloat16"):
        monkeypatch.setattr(device, "fast_precision", lambda precision=precision: precision)
        states[precision] = student.hidden(batch)
    assert states["bfloat16"].dtype == torch.float32
    assert not torch.equal(states["float32"], states["bfloat16"])
    assert torch.allclose(states["float32"], states["bfloat16"], atol=0.1)
    states["bfloat16"].sum().backward()  # autocast takes the adapters and the attention
