"""Adding, deleting and compacting give the index that a build of the same passages gives; nobody else notices."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import fakes
from tests.index.stored import KINDS, contents, encoded, hits_of, ids_in, index_of, passages_of
from xm.errors import IndexFolderError, XmError
from xm.folders import locked
from xm.index.change import add_passages, compact, delete_passages
from xm.index.codec import encode
from xm.index.lists import lists_of
from xm.index.manifest import LOCK, read_manifest
from xm.index.store import open_index, save_index
from xm.options import MapOptions
from xm.token_map import build_map

CHECKPOINT = {"model": "fake", "revision": "0" * 16}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An index of a, b and c."""
    save_index(index_of(*passages_of("a", "b", "c"), kind=request.param), tmp_path / "index")
    return tmp_path / "index"


def kind_of(folder: Path) -> str:
    manifest = read_manifest(folder)
    return manifest.dtype if manifest.kind == "flat" else "centroid"


def add(folder: Path, *ids: str) -> None:
    add_passages(folder, *encoded(*passages_of(*ids)), **CHECKPOINT)


def test_adding_gives_what_a_build_of_all_gives(folder: Path) -> None:
    add(folder, "d")
    add(folder, "new e", "f")
    ids = ("a", "b", "c", "d", "new e", "f")
    built = index_of(*passages_of(*ids), kind=kind_of(folder))
    if kind_of(folder) == "centroid":
        # The codec is the one of the first three passages.
        codec = open_index(folder).codec
        codes = encode(codec, index_of(*passages_of(*ids)).vectors)
        lists = lists_of(codes.centroid_ids, built.table.starts, n_centroids=codec.n_centroids)
        built = replace(built, codec=codec, codes=codes, lists=(lists,))
    found = open_index(folder, verify=True)
    assert contents(found) == contents(built)
    assert hits_of(found) == hits_of(built)
    compact(folder)
    assert contents(open_index(folder)) == contents(built)
    assert hits_of(open_index(folder)) == hits_of(built)


def test_deleting_gives_what_an_index_without_them_gives(folder: Path) -> None:
    before = {passage_id: open_index(folder).reconstruct(passage_id).vectors for passage_id in ("a", "c")}
    hits = hits_of(open_index(folder))
    delete_passages(folder, ["b"])
    index = open_index(folder)
    assert ids_in(index) == ["a", "c"]
    assert (index.n_passages, index.n_tokens) == (2, sum(len(vectors) for vectors in before.values()))
    for passage_id, vectors in before.items():
        np.testing.assert_array_equal(index.reconstruct(passage_id).vectors, vectors)
    assert hits_of(index) == [hit for hit in hits if hit[0] != "b"]
    manifest = read_manifest(folder)
    assert (manifest.n_passages, manifest.n_tokens, manifest.n_stored) == (2, index.n_tokens, 3)


def test_ids_stay_through_everything(folder: Path) -> None:
    kept = open_index(folder).reconstruct("c").vectors
    delete_passages(folder, ["a"])
    add(folder, "d", "e")
    delete_passages(folder, ["d", "b"])
    add(folder, "a")
    assert ids_in(open_index(folder, verify=True)) == ["c", "e", "a"]
    changed = contents(open_index(folder))
    hits = hits_of(open_index(folder))
    compact(folder)
    index = open_index(folder, verify=True)
    assert contents(index) == changed
    assert hits_of(index) == hits
    np.testing.assert_array_equal(index.reconstruct("c").vectors, kept)
    assert index.table.n_stored == index.n_passages == 3
    assert read_manifest(folder).deleted == ()
    assert len(list(folder.glob("generation-*"))) == 1


def test_compacting_gives_the_room_back(folder: Path) -> None:
    add(folder, *(f"word {i}" for i in range(20)))
    full = read_manifest(folder).n_bytes
    delete_passages(folder, [f"word {i}" for i in range(20)])
    assert read_manifest(folder).n_bytes == full
    compact(folder)
    assert read_manifest(folder).n_bytes < full
    assert not any("word" in piece and piece[-1].isdigit() for piece in open_index(folder).table.pieces)


def test_the_token_map_shows_no_deleted_passage(folder: Path) -> None:
    delete_passages(folder, ["b"])
    index = open_index(folder)
    found = build_map(index, None, ["c"], options=MapOptions(n_sample=1_000))
    assert set(found.passage_ids) == {"a", "c"}
    assert len(found.xy) == found.n_corpus_tokens == index.n_tokens
    points = zip(found.passage_ids, found.token_indices, found.tokens, strict=True)
    assert all(index.reconstruct(passage_id).tokens[i] == token for passage_id, i, token in points)


def test_an_id_that_is_there_cannot_be_added_until_it_is_deleted(folder: Path) -> None:
    with pytest.raises(XmError, match="1 of the 2 passages have ids.*'b'; delete"):
        add(folder, "d", "b")
    assert ids_in(open_index(folder)) == ["a", "b", "c"]
    delete_passages(folder, ["b"])
    add(folder, "d", "b")
    assert ids_in(open_index(folder)) == ["a", "c", "d", "b"]


def test_passages_of_another_model_cannot_be_added(folder: Path) -> None:
    corpus, items = encoded(*passages_of("d"))
    with pytest.raises(IndexFolderError, match="built with fake .revision 0000.*encoded with fake .revision 1111"):
        add_passages(folder, corpus, items, model="fake", revision="1" * 16)
    narrow = [type(item)(**{**vars(item), "vectors": item.vectors[:, :8]}) for item in items]
    with pytest.raises(IndexFolderError, match="dim 16.*dim 8"):
        add_passages(folder, corpus, narrow, **CHECKPOINT)
    add_passages(folder, corpus, items, model="another name of the same", revision="0" * 16)
    assert open_index(folder).model == "fake"


def test_what_is_not_there_cannot_be_deleted_nor_all(folder: Path) -> None:
    with pytest.raises(XmError, match="no passage has the id 'z'"):
        delete_passages(folder, ["a", "z"])
    with pytest.raises(XmError, match="all 3 passages would be deleted"):
        delete_passages(folder, ["a", "b", "c"])
    delete_passages(folder, ["a", "a"])
    delete_passages(folder, [])
    assert ids_in(open_index(folder)) == ["b", "c"]


@pytest.mark.parametrize("change", [lambda path: add(path, "d"), lambda path: delete_passages(path, ["a"]), compact])
def test_what_is_no_index_cannot_be_changed_and_stays_as_it_was(change: object, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(IndexFolderError, match="manifest.json is missing"):
        change(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_one_process_changes_an_index_at_a_time(folder: Path) -> None:
    with locked(folder / LOCK) as mine:
        assert mine
        for change in (
            lambda: add(folder, "d"),
            lambda: delete_passages(folder, ["a"]),
            lambda: compact(folder),
            lambda: save_index(open_index(folder), folder),
        ):
            with pytest.raises(IndexFolderError, match="another process is changing the index"):
                change()
    add(folder, "d")
    assert ids_in(open_index(folder)) == ["a", "b", "c", "d"]


def test_readers_keep_what_they_opened_whatever_is_written(folder: Path) -> None:
    first, second = open_index(folder), open_index(folder)
    before, hits = contents(first), hits_of(first)
    add(folder, "d")
    delete_passages(folder, ["a"])
    assert contents(first) == before
    third = open_index(folder)
    compact(folder)
    add(folder, "e")
    assert contents(second) == before
    assert hits_of(second) == hits
    assert ids_in(third) == ["b", "c", "d"]


def test_two_readers_find_a_whole_index_at_every_moment_of_many_changes(folder: Path) -> None:
    wrong: list[object] = []
    seen: set[tuple[str, ...]] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                index = open_index(folder, verify=True)
                ids = tuple(index.corpus.passage_ids)
                assert [hit.passage_id for hit in index.search(fakes._vector("word")[None].astype(np.float32), k=9)]
                assert all(index.reconstruct(passage_id).text for passage_id in ids)
                seen.add(ids)
            except (AssertionError, XmError, OSError) as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(3):
        add(folder, "x")
        delete_passages(folder, ["x"])
        compact(folder)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert seen <= {("a", "b", "c"), ("a", "b", "c", "x")}
