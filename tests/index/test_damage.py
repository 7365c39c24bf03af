"""Damaged files never pass for an index: the one that is damaged is named."""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.index.changes import CHANGES, DATA, OLD, add, build, folder_of
from tests.index.stored import flip_bit, ids_in, index_of, passages_of
from xm.errors import IndexFolderError
from xm.index import manifest, parts, store
from xm.index.change import compact
from xm.index.manifest import read_manifest
from xm.index.store import open_index, save_index

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


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index too large to be verified at every opening."""
    monkeypatch.setattr(store, "VERIFY_BELOW", 0)
    monkeypatch.setattr(parts, "_SMALL_BYTES", 0)
    return folder_of("float32", tmp_path)


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


def refused(folder: Path, path: Path, *damaged: tuple[bytes, str]) -> None:
    """Put each of some bytes in the place of a file: opening the index names it, and says what is wrong."""
    whole = path.read_bytes()
    for data, message in damaged:
        path.write_bytes(data)
        with pytest.raises(IndexFolderError, match=f"{path.name}.*{message}"):
            open_index(folder)
    path.write_bytes(whole)


def test_of_a_large_index_small_files_and_sizes_are_always_looked_at(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_SMALL_BYTES", 1_000)
    path = large / DATA / "vectors.npy"
    whole = path.read_bytes()
    assert len(whole) > 1_000 > (large / DATA / "starts.npy").stat().st_size
    flip_bit(path, len(whole) - 1)
    assert ids_in(open_index(large)) == list(OLD)
    with pytest.raises(IndexFolderError, match=r"vectors.npy is not what was written"):
        open_index(large, verify=True)
    with pytest.raises(IndexFolderError, match=r"vectors.npy is not what was written"):
        compact(large)
    path.write_bytes(whole)
    refused(
        large,
        path,
        (whole[:-1], "bytes where"),
        (b"X" + whole[1:], "cannot be read as an array"),
        (whole.replace(b"<f4", b"<i4", 1), "is int32 of shape"),
        (whole.replace(b", 16)", b", 32)", 1), r"of shape \(\d+, 32\), expected float32 of \(\d+, 16\)"),
    )
    flip_bit(large / DATA / "starts.npy", 140)
    with pytest.raises(IndexFolderError, match=r"starts.npy is not what was written"):
        open_index(large)


def test_a_text_that_is_damaged_unnoticed_is_named_when_it_is_read(large: Path) -> None:
    path = large / DATA / "passages.jsonl"
    whole = path.read_bytes()
    for data in (
        whole.replace(b'"id": "a"', b'"id": "b"'),
        whole.replace(b'{"id"', b'["id"'),
        whole.replace(b"en_XX", b"de_DE"),
    ):
        path.write_bytes(data)
        index = open_index(large)
        with pytest.raises(IndexFolderError, match=r"passages.jsonl holds"):
            index.reconstruct("a")


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


def test_files_of_lines_that_hold_something_else_are_errors(large: Path) -> None:
    for name in ("ids.jsonl", "pieces.jsonl"):
        path = large / DATA / name
        whole = path.read_bytes()
        damaged = (b"{" + whole[1:], whole.replace(b"\n", b" ", 1), b"\xff" + whole[1:], b"[" * len(whole))
        refused(large, path, *((data, "") for data in damaged))
    path = large / DATA / "ids.jsonl"
    refused(large, path, (path.read_bytes().replace(b'"b"', b'"a"'), "unique; 'a'"))
