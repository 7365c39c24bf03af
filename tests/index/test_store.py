"""An index on disk comes back as it was, and is never in the way of anything else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import fakes
from tests.index.stored import KINDS, contents, hits_of, ids_in, index_of, passages_of, rows_alike
from xm.corpus import read_corpus
from xm.errors import IndexFolderError, XmError
from xm.index import parts
from xm.index.flat import FlatIndex
from xm.index.parts import Index
from xm.index.store import check_target, is_index_folder, live_only, open_index, save_index
from xm.types import LanguageGuess, Passage

GUESS = LanguageGuess("de_DE", 0.71, "detected", 0.4, "nl_NL")
HOSTILE = 'line\u2028separator \u0085 "quotes" \\ \r\n {{x}} ${y} \x00 \ud83d end'


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest) -> Index:
    passages = (Passage("a", "Ein Haus am See.", GUESS), Passage("b\n\ud83d", HOSTILE, GUESS, parent_id="whole"))
    return index_of(*passages, kind=request.param, name="zwei \ud83d", notes=("row 3 is empty",))


def test_an_index_comes_back_as_it_was(index: Index, tmp_path: Path) -> None:
    save_index(index, tmp_path / "new" / "index")
    back = open_index(tmp_path / "new" / "index")
    assert back.corpus == index.corpus
    assert back.corpus.digest == index.corpus.digest
    assert back.corpus.languages == index.corpus.languages == ("de_DE",)
    assert contents(back) == contents(index)
    assert hits_of(back) == hits_of(index)


def test_every_array_has_the_type_it_had(tmp_path: Path) -> None:
    for kind in ("float32", "float16"):
        index = index_of(*passages_of("a", "b"), kind=kind)
        save_index(index, tmp_path / kind)
        back = open_index(tmp_path / kind)
        rows_alike(back.vectors, index.vectors)
        for name in ("starts", "live", "token_ids", "offsets", "kinds", "n_unseen"):
            rows_alike(getattr(back.table, name), getattr(index.table, name))


def test_vectors_are_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    save_index(index_of(*passages_of("a")), tmp_path / "index")
    vectors = open_index(tmp_path / "index").vectors
    assert isinstance(vectors.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1.0


def test_a_passage_is_read_when_it_is_asked_for_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_index(index_of(*passages_of("a", "b", "c")), tmp_path / "index")
    from xm.index import passages

    read: list[bytes] = []
    monkeypatch.setattr(
        passages, "passage_from", lambda line, real=passages.passage_from: read.append(line) or real(line)
    )
    index = open_index(tmp_path / "index")
    assert hits_of(index, k=2)
    assert (index.corpus.passage_ids, index.corpus.languages, len(index.corpus.passages)) == (
        ("a", "b", "c"),
        ("en_XX",),
        3,
    )
    assert read == []
    assert index.reconstruct("b").text == index.corpus.passages[1].text == index.corpus.passages[-2].text
    assert len(read) == 1


def test_stored_passages_are_a_sequence_like_the_tuple_they_were(tmp_path: Path) -> None:
    passages = passages_of("a", "b", "c")
    save_index(index_of(*passages), tmp_path / "index")
    stored = open_index(tmp_path / "index").corpus.passages
    assert (tuple(stored), stored[1:], stored[::-1], stored[-1]) == (
        passages,
        passages[1:],
        passages[::-1],
        passages[2],
    )
    assert stored == passages and passages == stored and stored != passages[:2] and stored != passages[::-1]
    assert passages[1] in stored and stored != list(passages)
    with pytest.raises(IndexError):
        stored[3]


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    index = index_of(*passages_of("a", "b"), kind="float16")
    save_index(index, tmp_path / "index")
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["format_version"], manifest["kind"], manifest["dtype"]) == (2, "flat", "float16")
    assert (manifest["model"], manifest["revision"], manifest["dim"]) == ("fake", "0" * 16, 16)
    assert (manifest["n_passages"], manifest["n_tokens"]) == (2, index.n_tokens)
    data = tmp_path / "index" / "generation-000001"
    assert sorted(manifest["files"]) == sorted(path.name for path in data.iterdir())
    names = {"manifest.json", "write.lock", data.name}
    assert {path.name for path in (tmp_path / "index").iterdir()} == names


def test_the_passages_of_an_index_can_be_read_as_a_corpus(tmp_path: Path) -> None:
    save_index(index_of(*passages_of("a", "b")), tmp_path / "index")
    corpus = read_corpus(tmp_path / "index" / "generation-000001" / "passages.jsonl")
    assert [(p.passage_id, p.text) for p in corpus.passages] == [(p.passage_id, p.text) for p in passages_of("a", "b")]


def test_arrays_can_be_read_by_numpy_alone(tmp_path: Path) -> None:
    index = index_of(*passages_of("a", "b"))
    save_index(index, tmp_path / "index")
    rows_alike(np.load(tmp_path / "index" / "generation-000001" / "vectors.npy"), index.vectors)


def test_saving_replaces_the_former_index_and_leaves_nothing_of_it(index: Index, tmp_path: Path) -> None:
    save_index(index_of(*passages_of("old")), tmp_path / "index")
    save_index(index, tmp_path / "index")
    assert contents(open_index(tmp_path / "index")) == contents(index)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert len(list((tmp_path / "index").glob("generation-*"))) == 1


def test_an_open_index_stays_readable_when_it_is_replaced(tmp_path: Path) -> None:
    former = index_of(*passages_of("old", "older"))
    save_index(former, tmp_path / "index")
    opened = open_index(tmp_path / "index")
    save_index(index_of(*passages_of("new")), tmp_path / "index")
    assert contents(opened) == contents(former)


def test_an_opened_index_can_be_saved_into_its_own_folder(index: Index, tmp_path: Path) -> None:
    save_index(index, tmp_path)
    save_index(open_index(tmp_path), tmp_path)
    assert contents(open_index(tmp_path)) == contents(index)


def test_a_reader_whose_generation_goes_away_reads_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_index(index_of(*passages_of("old")), tmp_path)
    changes = iter([lambda: save_index(index_of(*passages_of("new")), tmp_path)])
    real = parts.check_file

    def check_file(*arguments: object, **named: object) -> None:
        next(changes, lambda: None)()
        real(*arguments, **named)

    monkeypatch.setattr(parts, "check_file", check_file)
    assert ids_in(open_index(tmp_path)) == ["new"]


def test_deleted_passages_are_not_saved(tmp_path: Path) -> None:
    whole = index_of(*passages_of("a", "b", "c"))
    corpus = replace(whole.corpus, passages=(whole.corpus.passages[0], whole.corpus.passages[2]))
    index = replace(whole, table=replace(whole.table, corpus=corpus, live=np.array([0, 2])))
    kept = live_only(index)
    assert contents(kept) == contents(index) == contents(index_of(*passages_of("a", "c")))
    assert kept.table.pieces == tuple(sorted(set(kept.table.pieces), key=whole.table.pieces.index))
    assert len(kept.vectors) == kept.table.n_stored_tokens == index.n_tokens < len(index.vectors)
    save_index(index, tmp_path / "index")
    assert contents(open_index(tmp_path / "index")) == contents(index)
    nothing = replace(
        whole, table=replace(whole.table, corpus=replace(corpus, passages=()), live=np.array([], dtype=int))
    )
    with pytest.raises(XmError, match="no passage of 'toy' is left"):
        save_index(nothing, tmp_path / "index")
    assert contents(open_index(tmp_path / "index")) == contents(index)


@pytest.mark.parametrize("texts", [["x"], [""], ["same words"] * 5])
def test_one_passage_one_token_and_identical_passages_come_back(texts: list[str], tmp_path: Path) -> None:
    index = index_of(*fakes.corpus(*texts).passages)
    if texts == ["x"]:  # a passage of a single token
        table = replace(index.table, starts=np.array([0, 1]), token_ids=index.table.token_ids[:1])
        table = replace(table, offsets=table.offsets[:1], kinds=table.kinds[:1])
        index = FlatIndex(table, index.vectors[:1])
    save_index(index, tmp_path)
    assert contents(open_index(tmp_path)) == contents(index)
    assert hits_of(open_index(tmp_path), k=1_000) == hits_of(index)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError, match="no index at .*nowhere"):
        open_index(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["passages.jsonl", "thesis.txt", "manifest.json", "generation-1"])
def test_a_folder_of_other_things_is_never_replaced(content: str, tmp_path: Path) -> None:
    (tmp_path / content).write_text("mine", encoding="utf-8")
    for refusing in (lambda: save_index(index_of(*passages_of("a")), tmp_path), lambda: check_target(tmp_path)):
        with pytest.raises(IndexFolderError, match=f"{content!r}.*another folder"):
            refusing()
    assert (tmp_path / content).read_text(encoding="utf-8") == "mine"


def test_an_index_folder_with_something_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    save_index(index_of(*passages_of("a")), tmp_path / "index")
    (tmp_path / "index" / "notes.txt").touch()
    with pytest.raises(IndexFolderError, match=r"'notes.txt'"):
        save_index(index_of(*passages_of("b")), tmp_path / "index")


def test_an_empty_folder_may_become_an_index_and_a_file_may_not(tmp_path: Path) -> None:
    index = index_of(*passages_of("a"))
    (tmp_path / "empty").mkdir()
    save_index(index, tmp_path / "empty")
    assert is_index_folder(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(IndexFolderError, match="not a folder"):
        save_index(index, tmp_path / "file")
    with pytest.raises(IndexFolderError, match="cannot be written"):
        save_index(index, tmp_path / "file" / "index")


FORMER = ("manifest.json", "passages.jsonl", "tokens.json", "vectors.npy", "starts.npy", "token_ids.npy") + (
    "offsets.npy",
    "kinds.npy",
    "n_unseen.npy",
)


def test_an_index_of_an_earlier_xm_says_so_and_can_be_replaced(tmp_path: Path) -> None:
    for name in FORMER:
        (tmp_path / name).write_text('{"format": "xm-lens-index", "format_version": 1}', encoding="utf-8")
    assert is_index_folder(tmp_path)
    with pytest.raises(IndexFolderError, match="manifest.json was written by an earlier xm.*build the index again"):
        open_index(tmp_path)
    save_index(index_of(*passages_of("a")), tmp_path)
    assert ids_in(open_index(tmp_path)) == ["a"]
    assert not any((tmp_path / name).exists() for name in FORMER[1:])


def test_a_damaged_index_is_still_told_from_a_corpus(tmp_path: Path) -> None:
    save_index(index_of(*passages_of("a")), tmp_path / "index")
    (tmp_path / "index" / "manifest.json").unlink()
    assert is_index_folder(tmp_path / "index")
    (tmp_path / "passages.jsonl").touch()
    assert not is_index_folder(tmp_path)
    assert not is_index_folder(tmp_path / "passages.jsonl")
