"""What dies or fills the disk while it changes an index leaves the old one or the new, whole."""

import errno
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.index.changes import CHANGES, DATA, OLD, add, build, delete, folder_of
from tests.index.stored import KILLED, KINDS, contents, die_at, ids_in, run_and_leave, run_apart
from xm.errors import IndexFolderError
from xm.index.change import compact, delete_passages
from xm.index.manifest import read_manifest
from xm.index.store import open_index

resource = pytest.importorskip("resource", reason="killing by fork and limits on files are POSIX")


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An index of a, b and c, from which x was deleted."""
    return folder_of(request.param, tmp_path)


@pytest.mark.parametrize("kind", ["float32", "centroid"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_process_that_dies_at_any_step_leaves_the_old_index_or_the_new(
    change: Callable, kind: str, tmp_path: Path
) -> None:
    untouched, folder = folder_of(kind, tmp_path), tmp_path / "dying"
    old, former = contents(open_index(untouched)), read_manifest(untouched)
    shutil.copytree(untouched, folder)
    n_steps = die_at(None, lambda: change(folder))
    outcomes = []
    for step in sorted({1, 2, n_steps // 2, *range(n_steps - 3, n_steps + 1), n_steps + 1} - {-2, -1, 0}):
        shutil.rmtree(folder)
        shutil.copytree(untouched, folder)
        assert die_at(step, lambda: change(folder)) == (KILLED if step <= n_steps else 0)
        found = open_index(folder, verify=True)
        is_new = read_manifest(folder) != former
        assert ids_in(found) == (CHANGES[change] if is_new else list(OLD))
        assert is_new or contents(found) == old
        outcomes.append(is_new)
    # At first nothing has changed, in the end everything has, and there is one moment between.
    assert outcomes == sorted(outcomes)
    assert (outcomes[0], outcomes[-1]) == (False, True)


@pytest.mark.parametrize("change", [add, delete, compact, build], ids=lambda change: change.__name__)
def test_what_a_dead_process_left_is_swept_away(change: Callable, tmp_path: Path) -> None:
    folder = folder_of("float32", tmp_path)
    assert die_at(8, lambda: build(folder)) == KILLED
    assert len(list(folder.glob("generation-*"))) == 2
    change(folder)
    assert len(list(folder.glob("generation-*"))) == 1
    assert ids_in(open_index(folder, verify=True)) == CHANGES[change]


def test_every_file_is_on_the_disk_before_the_manifest_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[int] = set()
    commits: list[set[int]] = []
    rename = os.replace

    def commit(*names: Path) -> None:
        commits.append(set(flushed))
        rename(*names)

    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.add(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "replace", commit)
    for change in (add, build, compact):
        flushed.clear()
        change(folder)
        data = read_manifest(folder).data(folder)
        written = [path for path in data.iterdir() if change is not add or path.stem not in FIXED]
        if change is not add:
            written.append(data)
        assert {path.stat().st_ino for path in [*written, folder / "manifest.json"]} <= commits[-1]
        assert folder.stat().st_ino in flushed - commits[-1]


FIXED = {"centroids", "cutoffs", "weights", "list_passages", "list_starts"}  # adding writes the others


def test_a_first_build_that_dies_leaves_no_index_and_is_not_in_the_way(tmp_path: Path) -> None:
    n_steps = die_at(None, lambda: build(tmp_path / "counted"))
    for step in (1, 2, 3, n_steps // 2, n_steps - 2, n_steps - 1, n_steps):
        folder = tmp_path / str(step)
        assert die_at(step, lambda folder=folder: build(folder)) == KILLED
        if (folder / "manifest.json").exists():
            assert ids_in(open_index(folder)) == CHANGES[build]
        else:
            with pytest.raises(IndexFolderError, match=r"missing|no index"):
                open_index(folder)
        build(folder)
        assert ids_in(open_index(folder)) == CHANGES[build]


@pytest.mark.parametrize("change", [build, add, compact], ids=lambda change: change.__name__)
def test_a_killed_process_leaves_the_old_index_or_the_new(change: Callable, tmp_path: Path) -> None:
    rng = random.Random(change.__name__)
    folder = folder_of("centroid", tmp_path)
    for _ in range(5):
        before = ids_in(open_index(folder))
        pid = os.fork()
        if pid == 0:
            run_and_leave(lambda: change(folder))
        time.sleep(rng.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        after = ids_in(open_index(folder, verify=True))
        assert after in (before, ["new", "newer"], [*before, "d", "e", "x"])
        if after != before and change is add:
            delete_passages(folder, ["d", "e", "x"])


@pytest.mark.parametrize("change", [build, add, compact], ids=lambda change: change.__name__)
@pytest.mark.parametrize("n_bytes", [0, 1_000])
def test_a_full_disk_leaves_the_old_index_and_its_room(change: Callable, n_bytes: int, tmp_path: Path) -> None:
    folder = folder_of("centroid", tmp_path)
    old, sizes = contents(open_index(folder)), sizes_in(folder)
    assert run_with_limit(lambda: change(folder), n_bytes) == 0
    assert contents(open_index(folder, verify=True)) == old
    assert sizes_in(folder) == sizes
    change(folder)
    assert ids_in(open_index(folder, verify=True)) == CHANGES[change]


def sizes_in(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def run_with_limit(action: Callable[[], object], n_bytes: int) -> int:
    """Run an action in a process whose files stop growing at n_bytes, as on a full disk; 0 if it says so."""

    def refused() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
        with pytest.raises(IndexFolderError, match="cannot be written.*File too large"):
            action()

    return run_apart(refused)


def test_a_flush_that_fails_after_the_commit_leaves_the_new_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr("xm.folders.sync_names", failing)
    for change in (add, build):
        with pytest.raises(IndexFolderError, match="cannot be written.*the disk is gone"):
            change(folder)
        assert ids_in(open_index(folder, verify=True)) == CHANGES[change]


def test_what_a_killed_addition_left_does_not_count_and_is_written_over(folder: Path) -> None:
    old = contents(open_index(folder))
    for path in (folder / DATA).iterdir():
        with path.open("ab") as file:
            file.write(b"left by a killed process" * 100)
    assert contents(open_index(folder, verify=True)) == old
    add(folder)
    found = open_index(folder, verify=True)
    assert ids_in(found) == CHANGES[add]
    assert all(
        (folder / DATA / name).stat().st_size == record.n_bytes
        for name, record in read_manifest(folder).files.items()
        if record.n_rows != record.n_first
    )
