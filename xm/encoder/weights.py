"""Backbone weights from model.safetensors: XMOD, BERT and XLM-R, built without random values first.

A float32 tensor stays in the file, memory-mapped and copied on write, until its pages are touched. So a word embedding
costs memory once its word is met. Leaves out: adapters (xm.encoder.xmod) and any other file format.
"""

import json
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaModel,
    XmodConfig,
    XmodModel,
)

from xm.errors import CheckpointError

# model_type of config.json -> its classes. HF_ColBERT saves the backbone under the model's base_model_prefix.
_BACKBONES: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = {
    "xmod": (XmodConfig, XmodModel),
    "bert": (BertConfig, BertModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
}


def read_config(folder: Path) -> PreTrainedConfig:
    """Read config.json into the configuration class of its model_type; code it may name is never looked at.

    Raises:
        CheckpointError: the file is missing or unreadable, or of a backbone that is not supported.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.get("model_type")
        if kind not in _BACKBONES:
            raise CheckpointError(f"{path} is of model_type {kind!r}; supported: {', '.join(_BACKBONES)}")
        return _BACKBONES[kind][0].from_dict(values)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no config.json; a checkpoint folder needs one") from error
    except (OSError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise CheckpointError(f"{path} is not a readable configuration: {error}") from error


def open_weights(folder: Path) -> safe_open:
    """Open model.safetensors to read single tensors; only its header is read here."""
    path = folder / "model.safetensors"
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no model.safetensors, the only form of weights that is read") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}); fetch or save it again") from error


def read_tensor(tensors: safe_open, name: str) -> torch.Tensor:
    """Read one tensor; float16 and bfloat16 become float32, which holds each of their values exactly."""
    tensor = tensors.get_tensor(name)
    return tensor.float() if tensor.is_floating_point() else tensor


def build_backbone(config: PreTrainedConfig, tensors: safe_open) -> PreTrainedModel:
    """Build the model of `config` as float32, without pooler, in eval mode, filled from `tensors`.

    Raises:
        CheckpointError: tensors are missing or of the wrong shape.
    """
    with torch.device("meta"):  # random initial values would cost seconds and memory, only to be replaced
        model = _BACKBONES[config.model_type][1](config, add_pooling_layer=False)
    n_positions = config.max_position_embeddings
    model.embeddings.position_ids = torch.arange(n_positions).expand((1, -1))  # these two are not in checkpoints
    model.embeddings.token_type_ids = torch.zeros((1, n_positions), dtype=torch.long)
    fill(model, f"{model.base_model_prefix}.", tensors)
    return model.eval()


def fill(module: nn.Module, prefix: str, tensors: safe_open) -> None:
    """Give each parameter of `module` the tensor that is named like it behind `prefix`.

    Raises:
        CheckpointError: tensors are missing or of the wrong shape.
    """
    names = set(tensors.keys())
    wanted = {name: prefix + name for name in module.state_dict()}
    missing = [name for name in wanted.values() if name not in names]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise CheckpointError(f"model.safetensors lacks {len(missing)} tensors that config.json calls for: {shown}")
    try:
        module.load_state_dict({name: read_tensor(tensors, source) for name, source in wanted.items()}, assign=True)
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"model.safetensors does not fit config.json: {error}") from error
