"""fast-plaid: PLAID in Rust over libtorch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fast_plaid import search


def build(vectors: np.ndarray, starts: np.ndarray, folder: Path, *, n_bits: int) -> None:
    """Build an index; the seed is fixed, all else its default."""
    passages = list(torch.from_numpy(np.array(vectors)).split(np.diff(starts).tolist()))
    search.FastPlaid(index=str(folder), device="cpu").create(documents_embeddings=passages, nbits=n_bits, seed=42)


def open_index(data: Path, folder: Path, *, n_probe: int) -> Callable[[np.ndarray, int], list[int]]:
    """Open the folder."""
    index = search.FastPlaid(index=str(folder), device="cpu")

    def ask(query: np.ndarray, k: int) -> list[int]:
        found = index.search(torch.from_numpy(query)[None], top_k=k, n_ivf_probe=n_probe, show_progress=False)
        return [passage for passage, _ in found[0]]

    return ask
