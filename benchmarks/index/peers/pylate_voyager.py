"""PyLate's Voyager index: HNSW over tokens, then exact MaxSim on the passages found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pylate import indexes, retrieve


def build(vectors: np.ndarray, starts: np.ndarray, folder: Path) -> None:
    """Build an index with its defaults."""
    passages = np.split(np.array(vectors), starts[1:-1])
    index = indexes.Voyager(
        index_folder=str(folder), index_name="voyager", override=True, embedding_size=vectors.shape[1]
    )
    index.add_documents([str(place) for place in range(len(passages))], passages)


def open_index(data: Path, folder: Path, *, k_token: int) -> Callable[[np.ndarray, int], list[int]]:
    """Open the folder. k_token: neighbours looked up for each query token."""
    index = indexes.Voyager(index_folder=str(folder), index_name="voyager")
    retriever = retrieve.ColBERT(index=index)
    return lambda query, k: [
        int(hit["id"]) for hit in retriever.retrieve([query], k=k, k_token=k_token, device="cpu")[0]
    ]
