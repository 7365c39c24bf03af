"""Adapters out of a checkpoint folder and into another: `xm adapter export` and `xm adapter import`.

Leaves out: the file itself (xm.encoder.adapters).
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import XmodConfig

from xm.encoder.adapters import PARTS, AdapterFile, check_fit, make_adapter, read_adapter, write_adapter
from xm.encoder.files import SHARDS, WEIGHTS, read_json
from xm.encoder.hub import find_folder, revision_of
from xm.encoder.layouts import read_recipe
from xm.encoder.weights import Weights, open_weights, read_config, read_tensor
from xm.encoder.xmod import check_adapter
from xm.errors import CheckpointError
from xm.folders import replace_folder

_WORDS = "embeddings.word_embeddings.weight"
_NEVER_READ = (".bin", ".pt", ".onnx", ".h5", ".msgpack")
# The embedding norm; by its first name in what transformers 5.3 saves (PyLate 1.6).
_NORMS = ("embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma")


def export_adapter(model: str, code: str, path: str | Path, *, revision: str | None = None) -> AdapterFile:
    """Copy one adapter of a checkpoint to a file; only that adapter is read.

    Args:
        model: "xm-mini", a folder, or a hub name.
        code: XMOD code of the adapter.
        path: the file to write.
        revision: a branch, tag or commit of the hub.

    Raises:
        CheckpointError: the checkpoint cannot be found, is damaged or has no adapters, or the file cannot be written.
        LanguageError: the checkpoint has no adapter of this code.
    """
    folder = find_folder(model, revision=revision)
    home = _home(folder)
    config = _xmod_config(home)
    check_adapter(code, config.languages)
    with open_weights(home) as stored:
        prefix, norm_name = _prefix(stored, home)
        places = {name: prefix + _place(name, code) for name in _names(config.num_hidden_layers)}
        missing = sorted({*places.values()} - {*stored.keys()})
        if missing:
            raise CheckpointError(f"{home} lists {code} in config.json and lacks {missing[0]}; fetch or save it again")
        tensors = {name: read_tensor(stored, place) for name, place in places.items()}
        norm = read_tensor(stored, norm_name)
    adapter = make_adapter(config, code, tensors, norm, base=f"{model} {revision_of(folder, revision)[:12]}")
    write_adapter(adapter, path)
    return adapter


def merge_adapter(model: str, path: str | Path, out: str | Path, *, share_rows: bool = False) -> AdapterFile:
    """Write a checkpoint folder that is `model` with one adapter more; every other tensor is copied as it is.

    Args:
        model: "xm-mini", a folder, or a hub name.
        path: the adapter file.
        out: the folder to write; what is there is replaced.
        share_rows: put the adapter's own word embeddings into the table of all languages, which changes the others.

    Raises:
        CheckpointError: the adapter does not fit or is there already, it has word embeddings of its own and
            share_rows is not set, or a folder or file cannot be read or written.
    """
    folder, adapter = find_folder(model), read_adapter(path)
    home = _home(folder)
    code, config = adapter.facts.code, _xmod_config(home)
    if adapter.facts.n_rows and not share_rows:
        raise CheckpointError(
            f"{path} brings {adapter.facts.n_rows} word embeddings of its own, and a checkpoint has one table for all "
            "languages: they would change the others. Say that they shall (--share-rows), or use the file beside the "
            "checkpoint (Encoder.import_adapter)"
        )
    if code in config.languages:
        raise CheckpointError(f"{model} has an adapter {code} already; an adapter is added, never replaced")
    with open_weights(home) as stored:
        prefix, norm_name = _prefix(stored, home)
        check_fit(adapter, config, read_tensor(stored, norm_name), model)
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        metadata = stored.metadata()
    for name, tensor in adapter.tensors.items():
        tensors[prefix + _place(name, code)] = tensor.to(tensors[norm_name].dtype)
    if adapter.facts.n_rows:
        words = tensors[prefix + _WORDS].clone()
        words[adapter.row_ids] = adapter.rows.to(words.dtype)
        tensors[prefix + _WORDS] = words

    def fill(target: Path) -> None:
        # Weights beside the backbone's are either its shards or in formats that would now be out of date.
        shutil.copytree(folder, target, ignore=_other_weights(home), dirs_exist_ok=True)
        place = target / home.relative_to(folder)
        values = read_json(home / "config.json")
        values["languages"] = [*values["languages"], code]
        (place / "config.json").write_text(json.dumps(values, indent=2), encoding="utf-8")
        save_file(tensors, place / WEIGHTS, metadata=metadata)

    try:
        replace_folder(Path(out), fill)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{out} cannot be written ({error}); name another folder") from error
    return adapter


def _names(n_layers: int) -> list[str]:
    """Names of an adapter's tensors in its own file."""
    return [f"layer.{depth}.{part}" for depth in range(n_layers) for part in PARTS]


def _place(name: str, code: str) -> str:
    """Say where a checkpoint keeps the tensor that is `layer.N.dense1.weight` in an adapter file."""
    _, depth, part = name.split(".", 2)
    return f"encoder.layer.{depth}.output.adapter_modules.{code}.{part}"


def _prefix(stored: Weights, folder: Path) -> tuple[str, str]:
    """Return what stands before the backbone's names, "roberta." in the Stanford layout, and the embedding norm's."""
    found = [name for name in stored.keys() if name.endswith(_NORMS)]
    if len(found) != 1:
        raise CheckpointError(f"{folder}/{WEIGHTS} has {len(found)} tensors named like {_NORMS[0]}; expected one")
    return found[0].rpartition("embeddings.")[0], found[0]


def _xmod_config(folder: Path) -> XmodConfig:
    """Read the configuration of a checkpoint that has adapters."""
    config = read_config(folder)
    if not isinstance(config, XmodConfig):
        raise CheckpointError(f"{folder} holds a {config.model_type} backbone, which has no language adapters")
    return config


def _home(folder: Path) -> Path:
    """Return the backbone's folder within a checkpoint."""
    return folder / read_recipe(folder).backbone


def _other_weights(home: Path) -> Callable[[str, list[str]], list[str]]:
    """Tell copytree to leave out the backbone's weights, and formats that are never read."""

    def ignored(folder: str, names: list[str]) -> list[str]:
        endings = (*_NEVER_READ, *((".safetensors", SHARDS) if Path(folder) == home else ()))
        return [name for name in names if name.endswith(endings) or name.startswith(".")]

    return ignored
