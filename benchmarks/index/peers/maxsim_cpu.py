"""maxsim-cpu: exact MaxSim in Rust with libxsmm. Keeps no files, holds all embeddings in memory."""

from collections.abc import Callable
from pathlib import Path

import maxsim_cpu
import numpy as np

from benchmarks.index.peers import best


def open_index(data: Path, folder: Path) -> Callable[[np.ndarray, int], list[int]]:
    """Read the embeddings, as one array a passage, which it takes."""
    vectors, starts = np.load(data / "vectors.npy"), np.load(data / "starts.npy")
    passages = np.split(vectors, starts[1:-1])
    return lambda query, k: best(np.asarray(maxsim_cpu.maxsim_scores_variable(query, passages)), k)
