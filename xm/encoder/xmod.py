"""XMOD with one adapter run per batch, and without the adapters nobody asked for.

transformers' own XmodOutput runs a masked loop over every adapter in every layer, breaks under bfloat16 autocast, and
passes an unknown adapter id over in silence. Leaves out: tokens, the head's use, and where a checkpoint comes from.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import XmodConfig, XmodModel
from transformers.models.xmod.modeling_xmod import XmodAdapter, XmodOutput

from xm.encoder.weights import Weights, build_backbone, fill, open_weights, prefix_of, read_config, read_tensor
from xm.errors import CheckpointError, LanguageError


class RoutedOutput(XmodOutput):
    """An XmodOutput that runs the one adapter all texts of the batch share."""

    def lang_adapter(self, lang_ids: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """Apply the adapter as transformers' method does, bit for bit, for one language.

        Args:
            lang_ids: (n_texts,) equal ids into `adapter_modules`. Keep it on the CPU even when the model is not:
                reading it from another device makes that device wait in every layer.
            hidden_states: (n_texts, n_tokens, hidden).

        Raises:
            ValueError: the ids differ, or no adapter has this id.
        """
        adapter = self.adapter_modules[_shared_name(lang_ids, list(self.adapter_modules))]
        normed = hidden_states
        if self.adapter_layer_norm is not None:
            normed = self.adapter_layer_norm(hidden_states)
        elif self.adapter_reuse_layer_norm:
            normed = self.LayerNorm(hidden_states)
        residual = normed if self.ln_before_adapter else hidden_states
        return self.dropout(adapter(normed)) + residual


def _shared_name(lang_ids: torch.Tensor, names: list[str]) -> str:
    """Return the adapter name that every entry of `lang_ids` stands for."""
    ids = lang_ids.flatten().tolist()
    first = int(ids[0])
    if any(other != first for other in ids):
        raise ValueError(f"a batch runs one adapter; got ids {sorted(set(ids))}: group the texts by language")
    if not 0 <= first < len(names):
        raise ValueError(f"adapter id {first} is not among the {len(names)} loaded: {', '.join(names) or 'none'}")
    return names[first]


def route_adapters(model: XmodModel) -> None:
    """Make `model` run only the adapter of each batch, in place; weights and their names stay as they are."""
    for layer in model.encoder.layer:
        layer.output.__class__ = RoutedOutput  # unlike a bound method, this survives deepcopy and torch.save


def read_xmod(folder: str | Path, *, languages: Sequence[str] | None) -> tuple[XmodModel, dict[str, torch.Tensor]]:
    """Read the shared weights and some adapters of `folder` (config.json, model.safetensors) as float32.

    Args:
        folder: a checkpoint whose backbone tensors are named `roberta.*`, or bare.
        languages: XMOD codes to keep, in this order, which is also the order of the ids; None keeps all.

    Returns:
        The model without pooler, in eval mode and not routed, its config.languages cut to those kept; and every
        tensor outside the backbone, such as `linear.weight`.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors are missing or of the wrong shape.
        LanguageError: a language has no adapter here.
    """
    config = read_config(Path(folder))
    if not isinstance(config, XmodConfig):
        raise CheckpointError(f"{folder} holds a {config.model_type} backbone; expected xmod")
    available = tuple(config.languages)
    kept = available if languages is None else tuple(languages)
    for code in kept:
        check_adapter(code, available)
    with open_weights(Path(folder)) as tensors:
        model = build_shared(config, tensors)
        for code in kept:
            add_adapter(model, code, tensors)
        model.config.default_language = config.default_language if config.default_language in kept else None
        prefix = prefix_of(model, tensors.keys())
        names = [name for name in sorted(tensors.keys()) if prefix and not name.startswith(prefix)]
        return model, {name: read_tensor(tensors, name) for name in names}


def check_adapter(code: str, available: Sequence[str]) -> None:
    """Raise LanguageError, listing what there is, unless `code` is available."""
    if code not in available:
        raise LanguageError(
            f"this checkpoint has no language adapter {code!r}; it has {len(available)}: {', '.join(available)}"
        )


def build_shared(config: XmodConfig, tensors: Weights) -> XmodModel:
    """Build the model with its shared weights and no adapter yet; `config` is left as it is."""
    bare = XmodConfig.from_dict(config.to_dict() | {"languages": [], "default_language": None})
    return build_backbone(bare, tensors)


def add_adapter(model: XmodModel, code: str, tensors: Weights) -> int:
    """Read the adapter `code` into every layer, in the model's precision, and return its id.

    Raises:
        CheckpointError: its tensors are missing or of the wrong shape; the model is then unchanged.
    """
    prefix = prefix_of(model, tensors.keys())
    adapters = []
    for depth in range(model.config.num_hidden_layers):
        with torch.device("meta"):
            adapter = XmodAdapter(model.config)
        fill(adapter, f"{prefix}encoder.layer.{depth}.output.adapter_modules.{code}.", tensors)
        adapters.append(adapter.to(model.dtype).train(model.training))
    for layer, adapter in zip(model.encoder.layer, adapters, strict=True):
        layer.output.adapter_modules[code] = adapter
    model.config.languages = [*model.config.languages, code]
    return len(model.config.languages) - 1
