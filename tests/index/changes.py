"""An index in a folder, and each way to change it, for the tests of what goes wrong."""

from pathlib import Path

from tests.index.stored import encoded, index_of, passages_of
from xm.index.change import add_passages, compact, delete_passages
from xm.index.store import save_index

OLD = ("a", "b", "c")
DATA = "generation-000001"


def folder_of(kind: str, tmp_path: Path) -> Path:
    """An index of a, b and c, from which x was deleted."""
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
