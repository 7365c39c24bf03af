"""xm's own indexes, written to disk and opened as `xm search` opens them. kind: flat or centroid."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from xm.index.centroid import build_centroid
from xm.index.flat import FlatIndex
from xm.index.store import open_index as open_folder
from xm.index.store import save_index
from xm.index.table import PassageTable
from xm.options import CodecOptions, SearchOptions
from xm.types import Corpus, LanguageGuess, Passage

GUESS = LanguageGuess("en_XX", 1.0, "given")


def build(
    vectors: np.ndarray, starts: np.ndarray, folder: Path, *, kind: str, dtype: str = "float32", n_bits: int = 2
) -> dict[str, int]:
    """Build and save an index of passages whose texts are their numbers."""
    table = table_of_numbers(starts)
    if kind == "flat":
        save_index(FlatIndex(table, vectors.astype(dtype, copy=False)), folder)
        return {"codes": vectors.size * np.dtype(dtype).itemsize}
    index = build_centroid(table, vectors, options=CodecOptions(n_bits=n_bits))
    save_index(index, folder)
    return {name: share * len(vectors) for name, share in index.bytes_per_token.items()}


def table_of_numbers(starts: np.ndarray) -> PassageTable:
    """Make the least that an index must know of its passages beside their embeddings."""
    n_passages, n_tokens = len(starts) - 1, int(starts[-1])
    return PassageTable(
        corpus=Corpus("made up", tuple(Passage(str(place), str(place), GUESS) for place in range(n_passages))),
        model="made up",
        revision="0",
        starts=starts,
        live=np.arange(n_passages),
        token_ids=np.zeros(n_tokens, dtype=np.int32),
        pieces=("x",),
        offsets=np.full((n_tokens, 2), -1, dtype=np.int32),
        kinds=np.zeros(n_tokens, dtype=np.uint8),
        n_unseen=np.zeros(n_passages, dtype=np.int64),
    )


def open_index(data: Path, folder: Path, **search: int) -> Callable[[np.ndarray, int], list[int]]:
    """Open the folder; `search` is what SearchOptions takes, nothing for a flat index."""
    index = open_folder(folder)
    options = {"options": SearchOptions(**search)} if search else {}
    return lambda query, k: [int(hit.passage_id) for hit in index.search(query, k=k, **options)]
