"""Folders that are there whole or not at all: written beside their place, flushed to the disk, renamed into it.

Leaves out: what is in them (xm.index.store, xm.cache).
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

_STALE_SECONDS = 86_400  # what a killed process left half-built is swept away a day later


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a new folder, then put it in the place of the one at `path`, if there is one.

    Whenever the process dies, `readable_place(path)` is the former folder, whole, or the new one, whole.

    Raises:
        OSError: the disk is full, or a folder may not be written. The former folder is then in its place.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    building = path.with_name(f".{path.name}.building-{secrets.token_hex(4)}")
    building.mkdir()
    try:
        fill(building)
        _sync(building)
        _swap_in(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def readable_place(path: Path) -> Path:
    """Return the folder itself, or the former one beside it if a process died between the two renames."""
    former = _former_place(path.absolute())
    return former if not path.exists() and former.is_dir() else path


def _swap_in(building: Path, path: Path) -> None:
    """Move the former folder aside and the new one into its place, then drop the former."""
    former = _former_place(path)
    if path.exists():
        shutil.rmtree(former, ignore_errors=True)
        os.replace(path, former)
    try:
        os.replace(building, path)
    except OSError:
        if former.exists():
            os.replace(former, path)
        raise
    _sync_names(path.parent)
    shutil.rmtree(former, ignore_errors=True)


def _former_place(path: Path) -> Path:
    """Where the former folder waits while the new one takes its place."""
    return path.with_name(f".{path.name}.former")


def _sync(folder: Path) -> None:
    """Wait until the files of a folder are on the disk, or a power cut could leave names without contents."""
    for entry in folder.iterdir():
        with entry.open("rb+") as file:
            os.fsync(file.fileno())
    _sync_names(folder)


def _sync_names(folder: Path) -> None:
    """Wait until a folder's names are on the disk; Windows cannot open a folder and needs no such call."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove what killed processes left of this folder's builds, but no build that may still be running."""
    for left in path.parent.glob(f".{path.name}.building-*"):
        if left.exists() and time.time() - left.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
