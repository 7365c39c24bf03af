"""Small indexes of each kind for the tests of the store, what they hold, and processes that die while they write."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import fakes
from xm.index.centroid import build_centroid
from xm.index.flat import build_flat
from xm.index.parts import Index
from xm.options import CodecOptions
from xm.types import Corpus, Passage, TokenEmbeddings

KINDS = ["float32", "float16", "centroid"]
KILLED = 9


def encoded(*passages: Passage, name: str = "toy", notes: tuple[str, ...] = ()) -> tuple[Corpus, list[TokenEmbeddings]]:
    corpus = Corpus(name, passages, notes)
    items = fakes.FakeEncoder().encode_passages([p.text for p in passages], [p.language for p in passages])
    return corpus, items


def index_of(*passages: Passage, kind: str = "float32", name: str = "toy", notes: tuple[str, ...] = ()) -> Index:
    corpus, items = encoded(*passages, name=name, notes=notes)
    dtype = "float16" if kind == "float16" else "float32"
    flat = build_flat(corpus, items, model="fake", revision="0" * 16, dtype=dtype)
    if kind != "centroid":
        return flat
    return build_centroid(flat.table, flat.vectors, options=CodecOptions(n_bits=4, n_centroids=6))


def passages_of(*ids: str) -> tuple[Passage, ...]:
    """Passages of different lengths; some words are shared, some are each passage's own."""
    return tuple(fakes.passage(i, f"the word {i} again and {'again ' * (len(i) + ord(i[-1]) % 5)}") for i in ids)


def contents(index: Index) -> tuple:
    """All that can be asked of an index, to compare one with another."""
    passages = tuple(index.corpus.passages)
    items = [index.reconstruct(passage.passage_id) for passage in passages]
    return (
        (index.corpus.name, passages, index.corpus.notes, index.model, index.revision),
        [(item.tokens, item.kinds, item.n_unseen, item.offsets.tolist()) for item in items],
        [item.vectors.tolist() for item in items],
    )


def ids_in(index: Index) -> list[str]:
    return [passage.passage_id for passage in index.corpus.passages]


def hits_of(index: Index, *, k: int = 100) -> list[tuple[str, float]]:
    query = fakes.FakeEncoder().encode_query("which word again", fakes.passage("q", "").language)
    return [(hit.passage_id, round(hit.score, 5)) for hit in index.search(query.vectors, k=k)]


def run_apart(action: Callable[[], object]) -> int:
    """Run an action in a process of its own; its exit status is 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        run_and_leave(action)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_and_leave(action: Callable[[], object]) -> None:
    """End this forked process as soon as the action has, before pytest goes on in it."""
    status = 1
    try:
        action()
        status = 0
    finally:
        os._exit(status)


def die_at(step: int | None, action: Callable[[], object]) -> int:
    """Run an action whose process is gone before its n-th step towards the disk; None counts the steps.

    Returns:
        KILLED, or 0 if the action came to its end; the number of steps if they were counted.
    """
    n_steps = 0

    def dying(real: Callable) -> Callable:
        def call(*arguments: object, **named: object) -> object:
            nonlocal n_steps
            n_steps += 1
            if n_steps == step:
                os._exit(KILLED)
            return real(*arguments, **named)

        return call

    def watched() -> None:
        os.replace, os.fsync, os.mkdir = dying(os.replace), dying(lambda file: None), dying(os.mkdir)
        shutil.rmtree, Path.unlink = dying(shutil.rmtree), dying(Path.unlink)
        action()
        os._exit(n_steps if step is None else 0)

    return run_apart(watched)


def flip_bit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def rows_alike(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)
