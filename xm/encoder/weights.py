"""Backbone weights from safetensors: XMOD, BERT, XLM-R and ModernBERT, built without random values first.

A float32 tensor stays in the file, memory-mapped and copied on write, until its pages are touched. So a word embedding
costs memory once its word is met. Leaves out: adapters (xm.encoder.xmod) and any other file format.
"""

import json
from collections.abc import Iterable, Set
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedConfig,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaModel,
    XmodConfig,
    XmodModel,
)

from xm.encoder.files import WEIGHTS, weight_files, weight_map
from xm.errors import CheckpointError

# model_type of config.json -> its classes.
_BACKBONES: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = {
    "xmod": (XmodConfig, XmodModel),
    "bert": (BertConfig, BertModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "modernbert": (ModernBertConfig, ModernBertModel),
}


class ShardedWeights(AbstractContextManager):
    """Several safetensors files read as one; each tensor comes from the file the index names for it."""

    def __init__(self, folder: Path) -> None:
        """Open every shard; only headers are read here."""
        files = {path.name: safe_open(path, framework="pt") for path in weight_files(folder)}
        self._places = {name: files[Path(shard).name] for name, shard in weight_map(folder).items()}

    def __exit__(self, *_: object) -> None:
        """Forget the files, which closes them."""
        self._places = {}

    def keys(self) -> list[str]:
        """Return the names of all tensors."""
        return list(self._places)

    def get_tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        return self._places[name].get_tensor(name)

    def metadata(self) -> dict[str, str]:
        """Return what a single file would say of itself."""
        return {"format": "pt"}


Weights = safe_open | ShardedWeights


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


def open_weights(folder: Path) -> Weights:
    """Open model.safetensors, or the shards in its place, to read single tensors; only headers are read here.

    Raises:
        CheckpointError: there are no weights, they are only a pickle, or they are truncated or damaged.
    """
    paths = weight_files(folder)
    try:
        return safe_open(paths[0], framework="pt") if paths[0].name == WEIGHTS else ShardedWeights(folder)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{folder / paths[0].name} is truncated or damaged ({error}); fetch or save it again"
        ) from error


def read_tensor(tensors: Weights, name: str) -> torch.Tensor:
    """Read one tensor; float16 and bfloat16 become float32, which holds each of their values exactly."""
    tensor = tensors.get_tensor(name)
    return tensor.float() if tensor.is_floating_point() else tensor


def prefix_of(model: PreTrainedModel, names: Iterable[str]) -> str:
    """Return what stands before the names of the backbone's tensors.

    HF_ColBERT saves it under the model's base_model_prefix; PyLate and sentence-transformers save it bare.
    """
    prefix = f"{model.base_model_prefix}."
    return prefix if any(name.startswith(prefix) for name in names) else ""


def build_backbone(config: PreTrainedConfig, tensors: Weights) -> PreTrainedModel:
    """Build the model of `config` as float32, without pooler, in eval mode, filled from `tensors`.

    Raises:
        CheckpointError: tensors are missing or of the wrong shape.
    """
    kind = _BACKBONES[config.model_type][1]
    with torch.device("meta"):  # random initial values would cost seconds and memory, only to be replaced
        model = kind(config) if kind is ModernBertModel else kind(config, add_pooling_layer=False)
    if isinstance(model, ModernBertModel):
        model.rotary_emb = type(model.rotary_emb)(config=config)  # computed from the configuration, never stored
    else:
        n_positions = config.max_position_embeddings
        model.embeddings.position_ids = torch.arange(n_positions).expand((1, -1))  # these two are not in checkpoints
        model.embeddings.token_type_ids = torch.zeros((1, n_positions), dtype=torch.long)
    fill(model, prefix_of(model, tensors.keys()), tensors)
    return model.eval()


def build_remote(folder: Path, tensors: Weights) -> PreTrainedModel:
    """Build the model that a checkpoint's own code defines, WHICH RUNS THAT CODE; for those who allowed it.

    Args:
        folder: of the backbone, whose config.json names the code.
        tensors: its weights.

    Raises:
        CheckpointError: the code cannot be found or does not run, or tensors are missing or of the wrong shape.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        model = AutoModel.from_config(config, trust_remote_code=True)
    except (OSError, ValueError, ImportError, AttributeError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the code that {folder}/config.json names cannot be loaded: {error}") from error
    fill(model.float(), prefix_of(model, tensors.keys()), tensors)
    return model.eval()


def fill(module: nn.Module, prefix: str, tensors: Weights) -> None:
    """Give each parameter of `module` the tensor that is named like it behind `prefix`.

    Raises:
        CheckpointError: tensors are missing or of the wrong shape.
    """
    names = set(tensors.keys())
    wanted = {name: _stored_name(prefix + name, names) for name in module.state_dict()}
    missing = [name for name in wanted.values() if name not in names]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise CheckpointError(f"model.safetensors lacks {len(missing)} tensors that config.json calls for: {shown}")
    try:
        module.load_state_dict({name: read_tensor(tensors, source) for name, source in wanted.items()}, assign=True)
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"model.safetensors does not fit config.json: {error}") from error


def _stored_name(name: str, names: Set[str]) -> str:
    """Return what a tensor is called in the file: BERT's layer norms may have their first names, gamma and beta.

    The oldest checkpoints have them, and so do those that transformers 5.3 saves (PyLate 1.6).
    """
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return old if old in names and name not in names else name
