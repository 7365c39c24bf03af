"""PyLate's WARP index (xtr-warp-rs)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pylate import indexes


def build(vectors: np.ndarray, starts: np.ndarray, folder: Path, *, n_bits: int) -> None:
    """Build an index; all but n_bits and the place is its default."""
    passages = np.split(np.array(vectors), starts[1:-1])
    index = opened(folder, nbits=n_bits, override=True)
    index.add_documents([str(place) for place in range(len(passages))], passages)


def open_index(data: Path, folder: Path, *, n_probe: int) -> Callable[[np.ndarray, int], list[int]]:
    """Open the folder."""
    index = opened(folder, n_ivf_probe=n_probe, num_threads=2)
    return lambda query, k: [int(hit["id"]) for hit in index([query], k=k)[0]]


def opened(folder: Path, **options: object) -> indexes.WARP:
    """Create or open the index in a folder."""
    return indexes.WARP(index_folder=str(folder), index_name="warp", device="cpu", show_progress=False, **options)
