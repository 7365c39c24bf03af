"""The single-vector twin (DPR-XM): the same backbone, its tokens pooled to one vector a text.

Saved in sentence-transformers' layout, so that its users can load it too. Leaves out: late interaction.
"""

import json
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from xm.errors import TrainingError
from xm.train.student import LateInteraction, TokenBatch, copy_tokenizer

Pooling = Literal["mean", "max", "cls"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
_MODULES = "sentence_transformers.models"
_MODE_NAMES = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}


class SingleVector(nn.Module):
    """A student without its heads: hidden states pooled, then unit length.

    A score is a cosine over `temperature`, which training alone needs: it does not change a ranking.
    """

    def __init__(self, student: LateInteraction, pooling: Pooling, *, temperature: float) -> None:
        """Take over the student's backbone; its heads stay behind, frozen and unused."""
        super().__init__()
        self.student = student
        self.pooling: Pooling = pooling
        self.temperature = temperature
        student.freeze([*student.adapters(), *student.embeddings(), *student.heads()])

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return a unit vector a text, (batch, hidden)."""
        return functional.normalize(pool(self.student.hidden(batch), batch.attended, self.pooling), dim=-1)


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Make one vector of a text's tokens: their mean, their maximum number by number, or the first of them.

    Args:
        states: (batch, n_tokens, hidden). mask: (batch, n_tokens) bool, False at padding, True at the first token.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "max":
        return states.masked_fill(~mask[..., None], float("-inf")).amax(dim=1)
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def save_single_vector(twin: SingleVector, source: Path, out: Path, *, max_length: int) -> None:
    """Write the twin in half precision, with the tokenizer's files of `source`.

    Args:
        max_length: tokens a text may have when it is encoded, <s> and </s> included.

    Raises:
        TrainingError: the disk is full or `out` may not be written.
    """
    backbone = twin.student.backbone
    halves = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in backbone.state_dict().items()
        if "position_ids" not in name
    }
    try:
        (out / "1_Pooling").mkdir(parents=True, exist_ok=True)
        copy_tokenizer(source, out)
        save_file(halves, out / "model.safetensors.new", metadata={"format": "pt"})
        (out / "model.safetensors.new").replace(out / "model.safetensors")
        # What was loaded calls itself HF_ColBERT, by which the Stanford layout is known.
        config = json.loads(backbone.config.to_json_string()) | {"architectures": ["XmodModel"]}
        for name, values in {"config.json": config, **_settings(twin, max_length)}.items():
            (out / name).write_text(json.dumps(values, indent=1), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot write the checkpoint {out}: {error}; free some disk space, and resume") from error


def _settings(twin: SingleVector, max_length: int) -> dict[str, object]:
    """Return what sentence-transformers' small files say, by name."""
    width = twin.student.backbone.config.hidden_size
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{_MODULES}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{_MODULES}.Pooling"},
    ]
    modes = {f"pooling_mode_{name}": mode == twin.pooling for mode, name in _MODE_NAMES.items()}
    return {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": width, **modes},
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": "cosine"},
    }
