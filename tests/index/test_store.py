"""An index on disk comes back as it was, and a damaged one never comes back as something else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import fakes
from xm.errors import IndexFolderError
from xm.index.flat import FlatIndex, build_flat
from xm.index.store import check_target, is_index_folder, open_index, save_index
from xm.types import Corpus, LanguageGuess, Passage

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    "kinds.npy",
    "n_unseen.npy",
    "offsets.npy",
    "passages.jsonl",
    "starts.npy",
    "token_ids.npy",
    "tokens.json",
    "vectors.npy",
]
GUESS = LanguageGuess("de_DE", 0.71, "detected", 0.4, "nl_NL")
HOSTILE = 'line\u2028separator \u0085 "quotes" \\ \r\n {{x}} ${y} \x00 \ud83d end'


def index_of(*passages: Passage, name: str = "toy", notes: tuple[str, ...] = ()) -> FlatIndex:
    encoder = fakes.FakeEncoder()
    corpus = Corpus(name, passages, notes)
    items = encoder.encode_passages([p.text for p in passages], [p.language for p in passages])
    return build_flat(corpus, items, model=encoder.model, revision=encoder.revision)


@pytest.fixture
def index() -> FlatIndex:
    passages = (Passage("a", "Ein Haus am See.", GUESS), Passage("b", HOSTILE, GUESS, parent_id="whole"))
    return index_of(*passages, name="zwei", notes=("row 3 is empty",))


def test_an_index_comes_back_as_it_was(index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "new" / "index")
    back = open_index(tmp_path / "new" / "index")
    assert back.corpus == index.corpus
    assert (back.model, back.revision, back.pieces) == (index.model, index.revision, index.pieces)
    for name in ("vectors", "starts", "token_ids", "offsets", "kinds", "n_unseen"):
        kept, given = getattr(back, name), getattr(index, name)
        assert kept.dtype == given.dtype
        np.testing.assert_array_equal(kept, given)
    # A copy: numpy multiplies an array with its own transpose by another routine, whose last bits differ.
    query = index.reconstruct("a").vectors.copy()
    assert back.search(query, k=2) == index.search(query, k=2)


def test_vectors_are_mapped_and_cannot_be_written_to(index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    vectors = open_index(tmp_path / "index").vectors
    assert isinstance(vectors.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1.0


def test_the_manifest_says_what_is_there(index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format_version"] == 1
    assert (manifest["model"], manifest["revision"], manifest["dim"]) == ("fake", "0" * 16, 16)
    assert (manifest["n_passages"], manifest["n_tokens"]) == (2, index.n_tokens)
    assert sorted(manifest["files"]) == FILES
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == sorted(["manifest.json", *FILES])


def test_saving_replaces_the_former_index_and_leaves_nothing_beside_it(index: FlatIndex, tmp_path: Path) -> None:
    save_index(index_of(fakes.passage("old", "former")), tmp_path / "index")
    save_index(index, tmp_path / "index")
    assert open_index(tmp_path / "index").corpus == index.corpus
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_open_index_stays_readable_when_it_is_replaced(index: FlatIndex, tmp_path: Path) -> None:
    former = index_of(fakes.passage("old", "former words"))
    save_index(former, tmp_path / "index")
    opened = open_index(tmp_path / "index")
    save_index(index, tmp_path / "index")
    np.testing.assert_array_equal(opened.reconstruct("old").vectors, former.reconstruct("old").vectors)


@pytest.mark.parametrize("call", [1, 2])
def test_a_failing_rename_leaves_the_former_index_whole(
    call: int, index: FlatIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = index_of(fakes.passage("old", "former"))
    save_index(former, tmp_path / "index")
    monkeypatch.setattr(os, "replace", _failing_at(call, os.replace))
    with pytest.raises(IndexFolderError, match="cannot be written.*no room"):
        save_index(index, tmp_path / "index")
    assert open_index(tmp_path / "index").corpus == former.corpus
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def _failing_at(call: int, real: Callable) -> Callable:
    """The real function, but its n-th call fails as a full disk does."""
    n_calls = iter(range(1, 100))

    def replaced(*arguments: object) -> None:
        if next(n_calls) == call:
            raise OSError(28, "no room")
        real(*arguments)

    return replaced


KILLED_BUILD = """
import os, sys
from tests.index.test_store import index_of
from tests import fakes
from xm.index.store import save_index
n_calls = iter(range(1, 100))
def dying(real):
    def call(*arguments):
        if next(n_calls) == int(sys.argv[2]):
            os._exit(9)
        return real(*arguments)
    return call
os.replace, os.fsync = dying(os.replace), dying(os.fsync)
save_index(index_of(fakes.passage("new", "the new one")), sys.argv[1])
"""


# Nine files and their folder are flushed (1 to 10), then two renames (11, 12) and a last flush (13).
@pytest.mark.parametrize(("at", "whole"), [(1, "old"), (6, "old"), (11, "old"), (12, "old"), (13, "new"), (14, "new")])
def test_a_build_killed_at_any_step_leaves_a_whole_index(at: int, whole: str, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    save_index(index_of(fakes.passage("old", "the former one")), folder)
    command = [sys.executable, "-c", KILLED_BUILD, str(folder), str(at)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (0 if at == 14 else 9), done.stderr
    assert is_index_folder(folder)
    assert [passage.passage_id for passage in open_index(folder).corpus.passages] == [whole]
    save_index(index_of(fakes.passage("next", "built after")), folder)
    assert [passage.passage_id for passage in open_index(folder).corpus.passages] == ["next"]


def test_what_a_killed_build_left_is_swept_away_a_day_later(index: FlatIndex, tmp_path: Path) -> None:
    old, fresh = tmp_path / ".index.building-0000", tmp_path / ".index.building-1111"
    for left in (old, fresh):
        left.mkdir()
        (left / "vectors.npy").touch()
    os.utime(old, (0, 0))
    save_index(index, tmp_path / "index")
    assert not old.exists()
    assert fresh.exists()


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_a_missing_file_is_named(name: str, index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    (tmp_path / "index" / name).unlink()
    with pytest.raises(IndexFolderError, match=f"{name}.*missing.*xm index"):
        open_index(tmp_path / "index")


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_a_truncated_file_is_named(name: str, index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    path = tmp_path / "index" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IndexFolderError, match=name):
        open_index(tmp_path / "index")


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_noticed(name: str, index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    path = tmp_path / "index" / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFolderError, match=f"{name} is not what was written"):
        open_index(tmp_path / "index")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "faiss"}, "not the manifest of an XM Lens index"),
        ({"format_version": 99}, "format version 99.*reads version 1"),
        ({"kind": "centroid"}, "kind 'centroid'"),
        ({"model": None}, "lacks model"),
        ({"n_tokens": 3}, r"vectors.npy is float32 of shape \(\d+, 16\), expected float32 of \(3, 16\)"),
        ({"n_passages": 1}, r"starts.npy is int64 of shape \(3,\), expected int64 of \(2,\)"),
        ({"dim": 8}, "vectors.npy"),
        ({"files": {}}, "passages.jsonl is not listed"),
        ({"corpus": {}}, "passages.jsonl"),
        ({"corpus": {"name": "x", "digest": "0", "notes": []}}, "passages.jsonl does not hold the passages"),
    ],
)
def test_a_manifest_that_does_not_fit_is_an_error(change: dict, message: str, index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    path = tmp_path / "index" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(IndexFolderError, match=message):
        open_index(tmp_path / "index")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\udcff", "null"])
def test_a_manifest_of_anything_else_is_an_error(text: str, index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    (tmp_path / "index" / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(IndexFolderError, match="manifest.json"):
        open_index(tmp_path / "index")


def test_a_pickle_in_place_of_an_array_is_never_loaded(index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    path = tmp_path / "index" / "n_unseen.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    _bless(tmp_path / "index", path.name)
    with pytest.raises(IndexFolderError, match="n_unseen.npy cannot be read as an array"):
        open_index(tmp_path / "index")


@pytest.mark.parametrize(
    ("name", "array"),
    [("starts", [0, 5, 2]), ("starts", [1, 5, 9]), ("kinds", None), ("token_ids", None)],
)
def test_numbers_that_point_outside_are_an_error(
    name: str, array: list[int] | None, index: FlatIndex, tmp_path: Path
) -> None:
    save_index(index, tmp_path / "index")
    path = tmp_path / "index" / f"{name}.npy"
    kept = np.load(path)
    np.save(path, np.asarray(array, dtype=kept.dtype) if array else np.full_like(kept, 200))
    _bless(tmp_path / "index", path.name)
    with pytest.raises(IndexFolderError, match=name):
        open_index(tmp_path / "index")


def _bless(folder: Path, name: str) -> None:
    """Make the manifest agree with a file that was changed on purpose."""
    from xm.index import store

    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"][name] = store._facts_of(folder / name)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError, match="no index at .*nowhere"):
        open_index(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["passages.jsonl", "thesis.txt", "manifest.json"])
def test_a_folder_of_other_things_is_never_replaced(content: str, index: FlatIndex, tmp_path: Path) -> None:
    (tmp_path / content).write_text("mine", encoding="utf-8")
    for refusing in (lambda: save_index(index, tmp_path), lambda: check_target(tmp_path)):
        with pytest.raises(IndexFolderError, match=f"{content!r}.*another folder"):
            refusing()
    assert (tmp_path / content).read_text(encoding="utf-8") == "mine"


def test_an_index_folder_with_something_else_in_it_is_not_replaced(index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    (tmp_path / "index" / "notes.txt").touch()
    with pytest.raises(IndexFolderError, match=r"'notes.txt'"):
        save_index(index, tmp_path / "index")


def test_an_empty_folder_may_become_an_index_and_a_file_may_not(index: FlatIndex, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save_index(index, tmp_path / "empty")
    assert is_index_folder(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(IndexFolderError, match="not a folder"):
        save_index(index, tmp_path / "file")


def test_a_place_that_cannot_be_written_is_an_error(index: FlatIndex, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IndexFolderError, match="cannot be written"):
        save_index(index, tmp_path / "file" / "index")


def test_a_damaged_index_is_still_told_from_a_corpus(index: FlatIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "index")
    (tmp_path / "index" / "manifest.json").unlink()
    assert is_index_folder(tmp_path / "index")
    (tmp_path / "passages.jsonl").touch()
    assert not is_index_folder(tmp_path)
