"""A content-keyed cache of folders: what cost time to compute is kept under the hash of all that decides it.

Arrays are npy, facts are JSON, nothing is pickled. A damaged entry counts as absent, a cache that cannot be written is
done without (and logged). Leaves out: what is cached, and its key (xm.search, xm.token_map).
"""

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xm.folders import replace_folder
from xm.types import digest_of

MAX_BYTES = 2_000_000_000  # four indexes of a million tokens of 128 numbers
_OFF = "off"
_FACTS = "facts.json"
_ENTRY_NAME = re.compile(r"[a-z0-9]+-[0-9a-f]{40}")  # XM_CACHE may name a folder with other things in it
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Entry:
    """What was kept under a key: arrays by name, and facts that JSON can hold."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def cache_root() -> Path | None:
    """Return the cache's folder: XM_CACHE if set, else the platform's place for caches; None if XM_CACHE is `off`."""
    named = os.environ.get("XM_CACHE", "")
    if named:
        return None if named == _OFF else Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "xm-lens"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "xm-lens" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xm-lens"


def entry_folder(*parts: str) -> Path | None:
    """Return the folder of what `parts` decide (text, model and revision, options, format version), there or not.

    The first part says what is kept and begins the folder's name. None if the cache is off.
    """
    root = cache_root()
    return None if root is None else root / f"{parts[0]}-{digest_of(parts)[:40]}"


def read(*parts: str) -> Entry | None:
    """Read what `write` kept under the same parts; None if it is absent or damaged."""
    folder = entry_folder(*parts)
    if folder is None or not (folder / _FACTS).is_file():
        return None
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        arrays = {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
        touch(folder)
    except (OSError, ValueError, EOFError) as error:
        _log.warning("the cache entry %s cannot be read and is computed again: %s", folder, error)
        return None
    return Entry(arrays, facts)


def write(*parts: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Keep arrays and facts under `parts`, and remove the oldest entries beyond MAX_BYTES."""
    folder = entry_folder(*parts)
    if folder is None:
        return

    def fill(building: Path) -> None:
        for name, array in arrays.items():
            np.save(building / f"{name}.npy", array, allow_pickle=False)
        (building / _FACTS).write_text(json.dumps(dict(facts)), encoding="utf-8")

    try:
        replace_folder(folder, fill)
    except OSError as error:
        _log.warning("nothing is kept in the cache: %s", error)
        return
    trim(keep=folder)


def touch(folder: Path) -> None:
    """Mark an entry as used now, so that it is not the next one removed."""
    os.utime(folder)


def trim(*, max_bytes: int | None = None, keep: Path | None = None) -> None:
    """Remove the entries used longest ago until the cache is within max_bytes (MAX_BYTES); `keep` stays in any case."""
    max_bytes = MAX_BYTES if max_bytes is None else max_bytes
    root = cache_root()
    if root is None or not root.is_dir():
        return
    sizes: dict[Path, int] = {}
    used: dict[Path, float] = {}
    for folder in root.iterdir():
        if not _ENTRY_NAME.fullmatch(folder.name):
            continue
        try:
            sizes[folder] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            used[folder] = folder.stat().st_mtime
        except OSError:  # another process removed it meanwhile
            sizes.pop(folder, None)
    total = sum(sizes.values())
    for folder in sorted(used, key=lambda folder: used[folder]):
        if total > max_bytes and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]
