"""The files of a checkpoint folder: JSON, the headers of weights, and paths that must not leave the folder.

Nothing here needs torch, and nothing of a checkpoint is ever executed. Leaves out: what the files mean.
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from xm.errors import CheckpointError

WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
REQUIRED: Any = object()


@dataclass(frozen=True)
class Settings:
    """A JSON object whose values are taken out by type."""

    path: Path
    values: dict[str, Any]

    def get(self, key: str, kind: type, default: Any) -> Any:
        """Return a value of a type, or the default where there is none or null.

        Raises:
            CheckpointError: it is of another type, or there is none and the default is REQUIRED.
        """
        value = self.values.get(key)
        if value is None and default is REQUIRED:
            raise CheckpointError(f"{self.path} lacks {key}; a guess could silently change every score")
        if value is not None and type(value) is not kind:  # not isinstance: True is an int too
            raise CheckpointError(f"{self.path}: {key} is {value!r}; expected a {kind.__name__}")
        return default if value is None else value

    def words(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return a list of strings; raises as `get` does."""
        words = self.get(key, list, list(default))
        if not all(isinstance(word, str) for word in words):
            raise CheckpointError(f"{self.path}: {key} is {words!r}; expected a list of strings")
        return tuple(words)


def read_settings(path: Path, *, needed: bool = False) -> Settings:
    """Read a file of settings; where it is not needed there may be none, and everything has its default."""
    return Settings(path, read_json(path) if needed or path.is_file() else {})


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing, is no JSON, or holds something else than an object.
    """
    return _read(path, dict)


def read_list(path: Path) -> list[Any]:
    """Read a JSON list; raises as `read_json` does."""
    return _read(path, list)


def _read(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}, which its layout needs") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, kind):
        wanted = {dict: "an object", list: "a list"}[kind]
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}; expected {wanted}")
    return value


def is_snapshot(folder: Path) -> bool:
    """Say whether a folder is of the hub client's cache, .../snapshots/<commit>; it may be without its weights."""
    return folder.parent.name == "snapshots"


def inside(folder: Path, relative: str, *, named_by: str) -> Path:
    """Return the path `relative` within a checkpoint, which a file of that checkpoint names.

    Raises:
        CheckpointError: it leads out of the folder, by "..", as an absolute path or through a link.
    """
    parts = PurePosixPath(relative).parts
    path = folder / relative
    # The hub client's snapshots are links to the blobs beside them.
    homes = [folder.resolve(), *([folder.parent.parent.resolve() / "blobs"] if is_snapshot(folder) else [])]
    climbs = relative.startswith("/") or "\\" in relative or ":" in relative or ".." in parts or "\0" in relative
    if climbs or not any(path.resolve().is_relative_to(home) for home in homes):
        raise CheckpointError(f"{folder}/{named_by} names {relative!r}, which lies outside of the checkpoint's folder")
    return path


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a folder: model.safetensors, or the shards its index names.

    Raises:
        CheckpointError: there are none; a pickle in their place is named and never opened.
    """
    whole, index = folder / WEIGHTS, folder / SHARDS
    if whole.is_file():
        return (whole,)
    if index.is_file():
        shards = tuple(inside(folder, name, named_by=SHARDS) for name in sorted(set(weight_map(folder).values())))
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing or not shards:
            raise CheckpointError(f"{folder} lacks weight files that {SHARDS} names: {', '.join(missing) or 'any'}")
        return shards
    pickles = sorted(entry.name for entry in folder.glob("*.bin"))
    if pickles:
        raise CheckpointError(
            f"{folder} has weights only as a pickle ({', '.join(pickles)}), which can run code when it is opened; "
            "convert it to model.safetensors with a tool you trust"
        )
    raise CheckpointError(f"{folder} has no {WEIGHTS}, the only form of weights that is read")


def weight_map(folder: Path) -> dict[str, str]:
    """Read which shard each tensor is in."""
    path = folder / SHARDS
    names = read_json(path).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{path}: weight_map is no object of file names; fetch or save the checkpoint again")
    return names


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the shape of every tensor by the headers of a folder's weights; no weights are read.

    Raises:
        CheckpointError: there are no weights, or they are truncated or damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        for name, entry in _read_header(path).items():
            shape = entry.get("shape") if isinstance(entry, dict) else None
            if name != "__metadata__" and isinstance(shape, list) and all(type(size) is int for size in shape):
                shapes[name] = tuple(shape)
    return shapes


def _read_header(path: Path) -> dict[str, Any]:
    """Read the JSON header of a safetensors file: 8 bytes of little-endian length, then the text."""
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > n_bytes - 8:
            raise CheckpointError(f"{path} is truncated or damaged: {n_bytes} bytes with a header of {length}")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated or damaged: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is damaged: its header is a JSON {type(header).__name__}, not an object")
    return header
