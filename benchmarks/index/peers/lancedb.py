"""LanceDB with a multivector column, searched without an index (exact) or with IVF-PQ."""

from collections.abc import Callable
from pathlib import Path

import lancedb as lance
import numpy as np
import pyarrow as pa

_BLOCK = 4_096  # passages in a batch


def build(vectors: np.ndarray, starts: np.ndarray, folder: Path, *, indexed: bool) -> None:
    """Write a table; a PQ index with its defaults if asked for."""
    kind = pa.list_(pa.list_(pa.float32(), vectors.shape[1]))
    table = lance.connect(folder).create_table(
        "passages", schema=pa.schema([("place", pa.int64()), ("vector", kind)]), mode="overwrite"
    )
    for first in range(0, len(starts) - 1, _BLOCK):
        bounds = starts[first : first + _BLOCK + 1]
        rows = pa.array(np.array(vectors[bounds[0] : bounds[-1]]).reshape(-1))
        lists = pa.ListArray.from_arrays(
            pa.array(bounds - bounds[0], pa.int32()), pa.FixedSizeListArray.from_arrays(rows, vectors.shape[1])
        )
        places = pa.array(np.arange(first, first + len(bounds) - 1))
        table.add(pa.table({"place": places, "vector": lists}))
    if indexed:
        table.create_index(metric="cosine", vector_column_name="vector")


def open_index(data: Path, folder: Path, **search: int) -> Callable[[np.ndarray, int], list[int]]:
    """Open the table. search: nprobes and refine_factor, where it has an index."""
    table = lance.connect(folder).open_table("passages")

    def ask(query: np.ndarray, k: int) -> list[int]:
        asked = table.search(query, vector_column_name="vector").distance_type("cosine").select(["place"]).limit(k)
        for name, value in search.items():
            asked = getattr(asked, name)(value)
        return asked.to_arrow()["place"].to_pylist()

    return ask
