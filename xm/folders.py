"""Files and folders that are there whole or not at all: written beside their place, flushed, renamed into it.

Leaves out: what is in them (xm.index.store, xm.cache).
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if os.name == "nt":
    import msvcrt
else:
    import fcntl

_STALE_SECONDS = 86_400  # what a killed process left half-built is swept away a day later


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a new folder, then put it in the place of the one at `path`, if there is one.

    Whenever the process dies, the folder at `path` is whole: the former one, the new one, or for a moment none.

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
        for entry in building.rglob("*"):
            if entry.is_file():
                sync_file(entry)
        sync_names(building)
        _swap_in(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file at `path`, in one step: whoever reads sees the former bytes or the new.

    Raises:
        OSError: the disk is full, or the folder may not be written. The former file is then untouched.
    """
    building = path.with_name(f"{path.name}.new")
    try:
        with building.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(building, path)
    except OSError:
        building.unlink(missing_ok=True)
        raise
    sync_names(path.parent)


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk, or a power cut could leave its name without its contents."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_names(folder: Path) -> None:
    """Wait until a folder's names are on the disk; Windows cannot open a folder and needs no such call."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock file while the body runs; gives False, at once, if somebody else holds it.

    The system lets go of the lock when its process ends, however it ends, so a killed process blocks nobody. The file
    stays: removing it would let two processes hold locks on two files of one name.

    Raises:
        OSError: the file cannot be made.
    """
    with path.open("ab") as file:
        try:
            if os.name == "nt":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            yield False
        else:
            yield True


def _swap_in(building: Path, path: Path) -> None:
    """Move the former folder aside and the new one into its place, then drop the former."""
    former = path.with_name(f".{path.name}.former")
    if path.exists():
        shutil.rmtree(former, ignore_errors=True)
        os.replace(path, former)
    try:
        os.replace(building, path)
    except OSError:
        if former.exists():
            os.replace(former, path)
        raise
    sync_names(path.parent)
    shutil.rmtree(former, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Remove what killed processes left of this folder's builds, but no build that may still be running."""
    for left in path.parent.glob(f".{path.name}.building-*"):
        if left.exists() and time.time() - left.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
