"""From hidden states to embeddings: the linear layers of a checkpoint's head, and pooling where it gives one vector.

Leaves out: unit length, which the encoder gives every vector, and pooling that a checkpoint does not ask for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from xm.encoder.recipe import STANFORD, DenseFacts, Pooling, Recipe
from xm.encoder.stanford import head_name
from xm.encoder.weights import Weights, open_weights, read_tensor

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda hidden: hidden,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": functional.gelu,
    "SiLU": functional.silu,
    "Sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, eq=False)
class Dense:
    """One linear layer. weight: (n_out, n_in). residual: (n_out, n_in), used where the layer's sizes differ."""

    facts: DenseFacts
    weight: Tensor
    bias: Tensor | None = None
    residual: Tensor | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """Map (n_tokens, n_in) to (n_tokens, n_out)."""
        mapped = _ACTIVATIONS[self.facts.activation](functional.linear(hidden, self.weight, self.bias))
        if not self.facts.residual:
            return mapped
        return mapped + (hidden if self.residual is None else functional.linear(hidden, self.residual))


@dataclass(frozen=True, eq=False)
class Head:
    """The linear layers of a checkpoint in their order; without any, hidden states are the embeddings."""

    layers: tuple[Dense, ...]

    def __call__(self, hidden: Tensor) -> Tensor:
        """Map (n_tokens, hidden) float32 to (n_tokens, dim)."""
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


def read_heads(folder: Path, recipe: Recipe, dims: tuple[int, ...], weights: Weights) -> dict[int, Head]:
    """Read the head of each dim.

    Args:
        folder: of the checkpoint.
        recipe: its linear layers.
        dims: the sizes it has heads for (xm.encoder.layouts.read_sizes), its own first.
        weights: of the backbone, opened; the Stanford layout keeps its heads there.
    """
    if recipe.layout == STANFORD:
        tensors = {dim: read_tensor(weights, head_name(dim, recipe)) for dim in dims}
        return {dim: Head((Dense(recipe.head[0], tensor),)) for dim, tensor in tensors.items()}
    return {dims[0]: Head(tuple(_read_dense(folder, facts) for facts in recipe.head))}


def pool(hidden: Tensor, attended: Tensor, pooling: Pooling) -> Tensor:
    """Make one vector of each text's tokens: their mean, their greatest value a dimension, or the first.

    Args:
        hidden: (n_texts, n_tokens, hidden).
        attended: (n_texts, n_tokens), 0 for padding.
        pooling: as the checkpoint asks for.

    Returns:
        (n_texts, hidden).
    """
    if pooling == "cls":
        return hidden[:, 0]
    mask = attended.unsqueeze(-1).to(hidden.dtype)
    if pooling == "max":
        return hidden.masked_fill(mask == 0, float("-inf")).amax(dim=1)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def _read_dense(folder: Path, facts: DenseFacts) -> Dense:
    with open_weights(folder / facts.folder) as tensors:
        bias = read_tensor(tensors, "linear.bias") if facts.bias else None
        has_residual = facts.residual and facts.n_in != facts.n_out
        residual = read_tensor(tensors, "residual.weight") if has_residual else None
        return Dense(facts, read_tensor(tensors, "linear.weight"), bias, residual)
