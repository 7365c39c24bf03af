"""Which layout a checkpoint folder is in, and its recipe. No weights are read and no torch is needed.

Detection goes by files, never by names. Leaves out: fetching from the hub (xm.encoder.hub) and the tokenizer.
"""

from dataclasses import replace
from pathlib import Path

from xm.encoder.config import read_size, remote_code
from xm.encoder.files import read_json
from xm.encoder.modules import MODULES, dense_sizes, read_modules
from xm.encoder.recipe import STANFORD, Recipe
from xm.encoder.stanford import METADATA, head_sizes, read_stanford
from xm.errors import CheckpointError

SUPPORTED = (
    "supported are ColBERT's layout (config.json, artifact.metadata, tokenizer.json, model.safetensors with "
    "linear.weight) and those of PyLate and sentence-transformers (modules.json)"
)


def read_recipe(folder: Path) -> Recipe:
    """Tell a checkpoint's layout and read its recipe.

    Raises:
        CheckpointError: it is in no layout that can be followed, or a file is missing, damaged or of another type.
    """
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if (folder / METADATA).is_file() or config.get("architectures") == ["HF_ColBERT"]:
        if not config:
            raise CheckpointError(f"{folder} has no config.json, so it is no checkpoint; {SUPPORTED}")
        recipe = read_stanford(folder, hidden=read_size(folder, "hidden_size"))
        return replace(recipe, remote_code=remote_code(config))
    if (folder / MODULES).is_file():
        recipe = read_modules(folder)
        return replace(recipe, remote_code=remote_code(read_json(folder / recipe.backbone / "config.json")))
    if config:
        raise CheckpointError(
            f"{folder} is a bare encoder ({config.get('model_type')}) without late-interaction head or metadata; "
            f"fine-tune it first (xm train finetune), or give a checkpoint that was; {SUPPORTED}"
        )
    raise CheckpointError(f"{folder} has no config.json, so it is no checkpoint; {SUPPORTED}")


def check_remote_code(folder: Path, recipe: Recipe, *, allowed: bool) -> None:
    """Raise CheckpointError if a checkpoint needs code of its own and the person did not allow it."""
    if recipe.remote_code and not allowed:
        raise CheckpointError(
            f"{folder} needs remote code ({recipe.remote_code}), which is never run unasked; read that code, then load "
            "with --allow-remote-code (in Python: EncodeOptions(allow_remote_code=True))"
        )


def read_sizes(folder: Path, recipe: Recipe, *, hidden: int) -> tuple[int, ...]:
    """Return the dims a checkpoint has heads for, its own first; the heads are checked by the headers of weights."""
    if recipe.layout == STANFORD:
        return head_sizes(folder, recipe)
    return dense_sizes(folder, recipe, hidden=hidden)
