"""What dies, fills the disk or damages files never breaks an index unnoticed: it is whole, or the file is named."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.index.stored import (
    KILLED,
    KINDS,
    contents,
    die_at,
    encoded,
    flip_bit,
    ids_in,
    index_of,
    passages_of,
    run_and_leave,
    run_apart,
)
from xm.errors import IndexFolderError
from xm.index import manifest, parts, store
from xm.index.change import add_passages, compact, delete_passages
from xm.index.manifest import read_manifest
from xm.index.store import open_index, save_index

resource = pytest.importorskip("resource", reason="killing by fork and limits on files are POSIX")
OLD = ("a", "b", "c")
DATA = "generation-000001"


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An index of a, b and c, from which x was deleted."""
    return folder_of(request.param, tmp_path)


def folder_of(kind: str, tmp_path: Path) -> Path:
    save_index(index_of(*passages_of(*OLD, "x"), kind=kind), tmp_path / "index")
    delete_passages(tmp_path / "index", ["x"])
    return tmp_path / "index"


def build(folder: Path) -> None:
    save_index(index_of(*passages_of("new", "newer")), folder)


def add(folder: Path) -> None:
    add_passages(folder, *encoded(*passages_of("d", "e", "x")), model="fake", revision="0" * 16)


def delete(folder: Path) -> None:
    delete_passages(folder, ["a"])


CHANGES = {build: ["new", "newer"], add: [*OLD, "d", "e", "x"], delete: ["b", "c"], compact: list(OLD)}


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


FLAT_FILES = {
    "ids.jsonl",
    "kinds.npy",
    "line_starts.npy",
    "n_unseen.npy",
    "offsets.npy",
    "passages.jsonl",
    "pieces.jsonl",
    "starts.npy",
    "token_ids.npy",
    "vectors.npy",
}
CENTROID_FILES = (FLAT_FILES - {"vectors.npy"}) | {
    "centroid_ids.npy",
    "centroids.npy",
    "cutoffs.npy",
    "list_passages.npy",
    "list_starts.npy",
    "residuals.npy",
    "weights.npy",
}
FILES = [("float32", name) for name in sorted(FLAT_FILES)] + [("centroid", name) for name in sorted(CENTROID_FILES)]


@pytest.mark.parametrize("kind", ["float32", "centroid"])
def test_the_files_are_these(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path)
    assert {path.name for path in (folder / DATA).iterdir()} == (FLAT_FILES if kind == "float32" else CENTROID_FILES)


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_missing_cut_flipped_or_foreign_file_is_named(kind: str, name: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path)
    path = folder / DATA / name
    add(folder)
    whole = path.read_bytes()
    committed = read_manifest(folder).files[name].ranges
    for damage, message in [
        (lambda: path.unlink(), "is missing.*xm index"),
        (lambda: path.write_bytes(whole[:-1]), "bytes where"),
        (lambda: path.write_bytes(b""), "bytes where"),
        (lambda: flip_bit(path, 0), "is not what was written"),
        (lambda: flip_bit(path, len(whole) // 2), "is not what was written"),
        (lambda: flip_bit(path, len(whole) - 1), f"differs in bytes [0-9,]+ to {committed[-1][0]:,}"),
        (lambda: path.write_bytes(os.urandom(len(whole))), "is not what was written"),
    ]:
        damage()
        with pytest.raises(IndexFolderError, match=f"{name} .*{message}"):
            open_index(folder)
        path.write_bytes(whole)
    assert ids_in(open_index(folder)) == CHANGES[add]


def test_files_that_were_swapped_are_named(tmp_path: Path) -> None:
    folder = folder_of("float32", tmp_path)
    other = tmp_path / "other"
    save_index(index_of(*passages_of("A", "B", "C", "X")), other)
    for one, another in [
        ("n_unseen.npy", DATA + "/token_ids.npy"),
        ("vectors.npy", "../other/" + DATA + "/vectors.npy"),
    ]:
        kept = (folder / DATA / one).read_bytes()
        shutil.copy(folder / another, folder / DATA / one)
        with pytest.raises(IndexFolderError, match=one):
            open_index(folder)
        (folder / DATA / one).write_bytes(kept)
    shutil.copy(other / "manifest.json", folder / "manifest.json")
    with pytest.raises(IndexFolderError, match="is not what was written|bytes where"):
        open_index(folder)


def test_of_a_large_index_small_files_and_sizes_are_always_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of("float32", tmp_path)
    monkeypatch.setattr(store, "VERIFY_BELOW", 0)
    monkeypatch.setattr(parts, "_SMALL_BYTES", 1_000)
    path = folder / DATA / "vectors.npy"
    whole = path.read_bytes()
    assert len(whole) > 1_000 > (folder / DATA / "starts.npy").stat().st_size
    flip_bit(path, len(whole) - 1)
    assert ids_in(open_index(folder)) == list(OLD)
    with pytest.raises(IndexFolderError, match=r"vectors.npy is not what was written"):
        open_index(folder, verify=True)
    with pytest.raises(IndexFolderError, match=r"vectors.npy is not what was written"):
        compact(folder)
    for data, message in [
        (whole[:-1], "bytes where"),
        (b"X" + whole[1:], "cannot be read as an array"),
        (whole.replace(b"<f4", b"<i4", 1), "is int32 of shape"),
        (whole.replace(b", 16)", b", 32)", 1), r"of shape \(\d+, 32\), expected float32 of \(\d+, 16\)"),
    ]:
        path.write_bytes(data)
        with pytest.raises(IndexFolderError, match=f"vectors.npy .*{message}"):
            open_index(folder)
    path.write_bytes(whole)
    flip_bit(folder / DATA / "starts.npy", 140)
    with pytest.raises(IndexFolderError, match=r"starts.npy is not what was written"):
        open_index(folder)


def test_a_text_that_is_damaged_unnoticed_is_named_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of("float32", tmp_path)
    monkeypatch.setattr(store, "VERIFY_BELOW", 0)
    monkeypatch.setattr(parts, "_SMALL_BYTES", 0)
    path = folder / DATA / "passages.jsonl"
    whole = path.read_bytes()
    for data in (
        whole.replace(b'"id": "a"', b'"id": "b"'),
        whole.replace(b'{"id"', b'["id"'),
        whole.replace(b"en_XX", b"de_DE"),
    ):
        path.write_bytes(data)
        index = open_index(folder)
        with pytest.raises(IndexFolderError, match=r"passages.jsonl holds"):
            index.reconstruct("a")


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


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    folder = folder_of("float32", tmp_path)
    path = folder / "manifest.json"
    whole = path.read_bytes()
    rng = random.Random(0)
    for at in sorted(rng.sample(range(len(whole)), 150)):
        flip_bit(path, at)
        try:
            found = open_index(folder)
        except IndexFolderError as error:
            assert "manifest.json" in str(error)
        else:  # a flip between values, of a space to another
            assert whole[at : at + 1].isspace()
            assert ids_in(found) == list(OLD)
        path.write_bytes(whole)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\udcff", "null", '{"format": "faiss"}', "{}"])
def test_a_manifest_of_anything_else_is_an_error(text: str, tmp_path: Path) -> None:
    folder = folder_of("float32", tmp_path)
    (folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(IndexFolderError, match="manifest.json"):
        open_index(folder)
    build(folder)
    assert ids_in(open_index(folder)) == CHANGES[build]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "written by another xm .format version 99; this one reads 2"),
        ({"format_version": None}, "written by another xm"),
        ({"kind": "tree"}, "lacks what this xm needs.*tree"),
        ({"model": ...}, "lacks.*model"),
        ({"dim": "x"}, "lacks"),
        ({"dim": 8}, "vectors.npy"),
        ({"dtype": "float16"}, "vectors.npy is float32"),
        ({"kind": "centroid"}, "centroids.npy is not listed"),
        ({"files": {}}, "starts.npy is not listed|n_unseen.npy"),
        ({"files": 3}, "lacks"),
        ({"corpus": {}}, "lacks.*name"),
        ({"n_passages": 1}, "counts its passages wrongly"),
        ({"deleted": [0, 1, 2, 3], "n_passages": 0}, "counts its passages wrongly"),
        ({"deleted": [9]}, "counts its passages wrongly"),
        ({"deleted": [-1]}, "counts its passages wrongly"),
        ({"generation": 7}, "generation-000007.*missing"),
    ],
)
def test_a_manifest_that_does_not_fit_is_an_error(change: dict, message: str, tmp_path: Path) -> None:
    folder = folder_of("float32", tmp_path)
    bless(folder, change)
    with pytest.raises(IndexFolderError, match=message):
        open_index(folder)


def bless(folder: Path, change: dict) -> None:
    """Change the manifest, and make its own digest agree; a value of ... takes the key away."""
    path = folder / "manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8")) | change
    facts = {name: value for name, value in facts.items() if value is not ... and name != "sha256"}
    path.write_text(json.dumps(facts | {"sha256": manifest._digest_of(facts)}), encoding="utf-8")


def put(folder: Path, name: str, array: np.ndarray) -> None:
    """Put another array in the place of one, and make the manifest agree."""
    path = folder / DATA / name
    np.save(path, array, allow_pickle=True)
    data = path.read_bytes()
    facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    part = {"end": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    facts[name] = {"rows": len(array), "first_rows": len(array), "parts": [part]}
    bless(folder, {"files": facts})


def test_a_pickle_in_place_of_an_array_is_never_loaded(tmp_path: Path) -> None:
    folder = folder_of("float32", tmp_path)
    put(folder, "offsets.npy", np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(IndexFolderError, match=r"offsets.npy is object of shape"):
        open_index(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("starts.npy", lambda array: array[::-1]),
        ("starts.npy", lambda array: array + 1),
        ("starts.npy", lambda array: array[:-1]),
        ("line_starts.npy", lambda array: array * 2),
        ("kinds.npy", lambda array: array + 200),
        ("kinds.npy", lambda array: array[:-1]),
        ("token_ids.npy", lambda array: array + 1_000),
        ("token_ids.npy", lambda array: array - 1_000),
        ("centroid_ids.npy", lambda array: array + 6),
        ("residuals.npy", lambda array: array[1:]),
        ("cutoffs.npy", lambda array: array[1:]),
        ("list_passages.npy", lambda array: array + 4),
        ("list_passages.npy", lambda array: array[1:]),
        ("list_starts.npy", lambda array: array[:, ::-1]),
        ("n_unseen.npy", lambda array: array[:0]),
    ],
)
def test_numbers_that_point_outside_are_an_error(name: str, change: Callable, tmp_path: Path) -> None:
    folder = folder_of("centroid", tmp_path)
    put(folder, name, np.ascontiguousarray(change(np.load(folder / DATA / name))))
    # n_unseen.npy says how many passages there are: the others then do not fit it.
    with pytest.raises(IndexFolderError, match=name.replace("list_passages", "list_(passages|starts)")):
        open_index(folder)


def test_files_of_lines_that_hold_something_else_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "VERIFY_BELOW", 0)
    monkeypatch.setattr(parts, "_SMALL_BYTES", 0)
    folder = folder_of("float32", tmp_path)
    for name in ("ids.jsonl", "pieces.jsonl"):
        path = folder / DATA / name
        whole = path.read_bytes()
        for data in (b"{" + whole[1:], whole.replace(b"\n", b" ", 1), b"\xff" + whole[1:], b"[" * len(whole)):
            path.write_bytes(data)
            with pytest.raises(IndexFolderError, match=name):
                open_index(folder)
        path.write_bytes(whole)
    path = folder / DATA / "ids.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"a"'))
    with pytest.raises(IndexFolderError, match=r"ids.jsonl.*unique; 'a'"):
        open_index(folder)
