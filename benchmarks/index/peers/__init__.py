"""Engines that are measured, one a module: see benchmarks.index.measure for what a module has."""

import numpy as np


def best(scores: np.ndarray, k: int) -> list[int]:
    """Return the k places of highest score, best first."""
    k = min(k, len(scores))
    top = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
    return top[np.argsort(-scores[top], kind="stable")].tolist()
