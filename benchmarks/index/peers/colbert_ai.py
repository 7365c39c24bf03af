"""colbert-ai's own PLAID, its indexer fed with embeddings instead of texts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from colbert.data.collection import Collection
from colbert.indexing.collection_indexer import CollectionIndexer
from colbert.indexing.index_saver import IndexSaver
from colbert.infra import ColBERTConfig
from colbert.modeling.colbert import ColBERT
from colbert.search.index_storage import IndexScorer


class Stored:
    """Stands in for the encoder: a passage's text is its number, its embeddings are looked up."""

    def __init__(self, vectors: np.ndarray, starts: np.ndarray) -> None:
        self.vectors, self.starts = vectors, starts

    def encode_passages(self, passages: list[str]) -> tuple[torch.Tensor | None, list[int]]:
        """Return the embeddings of passages end to end, and how many each has."""
        rows = [self.vectors[self.starts[int(place)] : self.starts[int(place) + 1]] for place in passages]
        if not rows:
            return None, None
        return torch.from_numpy(np.concatenate(rows)), [len(row) for row in rows]


class Indexer(CollectionIndexer):
    """The indexer without a checkpoint."""

    def __init__(self, config: ColBERTConfig, vectors: np.ndarray, starts: np.ndarray) -> None:
        self.verbose, self.config, self.use_gpu = 0, config, False
        self.rank, self.nranks = 0, 1
        self.collection = Collection.cast([str(place) for place in range(len(starts) - 1)])
        self.encoder, self.saver = Stored(vectors, starts), IndexSaver(config)


def build(vectors: np.ndarray, starts: np.ndarray, folder: Path, *, n_bits: int) -> None:
    """Build an index with its defaults."""
    folder.mkdir(parents=True, exist_ok=True)
    Indexer(config_of(folder, n_bits=n_bits, dim=vectors.shape[1]), vectors, starts).run([])


def open_index(
    data: Path, folder: Path, *, n_probe: int, threshold: float, n_docs: int
) -> Callable[[np.ndarray, int], list[int]]:
    """Open the folder. The three settings are its ncells, centroid_score_threshold and ndocs."""
    ColBERT.try_load_torch_extensions(use_gpu=False)
    scorer = IndexScorer(str(folder), use_gpu=False)
    config = ColBERTConfig(ncells=n_probe, centroid_score_threshold=threshold, ndocs=n_docs)
    return lambda query, k: scorer.rank(config, torch.from_numpy(query)[None])[0][:k]


def config_of(folder: Path, *, n_bits: int, dim: int) -> ColBERTConfig:
    """Make the configuration of a build in one process without GPU; faiss trains in that process."""
    return ColBERTConfig(
        nbits=n_bits,
        dim=dim,
        index_path=str(folder),
        rank=0,
        nranks=1,
        avoid_fork_if_possible=True,
    )
