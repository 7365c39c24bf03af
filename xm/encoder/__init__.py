"""Texts to token embeddings: checkpoints, tokenizers and the XMOD encoder.

The only home of torch and transformers besides xm.train. Names are imported when first used, so that inspecting a
checkpoint does not wait for torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Before torch starts its threads: with active waiting, two busy processes on two cores slow each other tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

if TYPE_CHECKING:
    from xm.encoder.checkpoints import CheckpointFacts, inspect_checkpoint
    from xm.encoder.encoder import Encoder, load_encoder
    from xm.encoder.hub import KnownModel, known_models

_HOMES = {
    "CheckpointFacts": "checkpoints",
    "inspect_checkpoint": "checkpoints",
    "Encoder": "encoder",
    "load_encoder": "encoder",
    "KnownModel": "hub",
    "known_models": "hub",
}

__all__ = ["CheckpointFacts", "Encoder", "KnownModel", "inspect_checkpoint", "known_models", "load_encoder"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
