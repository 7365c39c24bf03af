"""Which number format this processor multiplies fastest, found by trying. Leaves out: int8."""

import time
from functools import cache
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

_WORTH = 1.3  # bfloat16 must win by this much to be worth its rounding
_N_RUNS = 3


@cache
def fast_precision() -> Precision:
    """Return bfloat16 where it clearly beats float32, float32 elsewhere; about 10 ms, once per process.

    Having the instructions is no guide: without AMX, bfloat16 is 4 to 60 times slower than float32.
    """
    passages = torch.ones(128, 384)
    weights = torch.ones(384, 384)
    whole = _seconds(passages, weights, limit=float("inf"))
    half = _seconds(passages.bfloat16(), weights.bfloat16(), limit=20 * whole)
    return "bfloat16" if half * _WORTH < whole else "float32"


def _seconds(left: torch.Tensor, right: torch.Tensor, *, limit: float) -> float:
    """Return the shortest of a few matrix products, in seconds; a run beyond `limit` ends the measurement."""
    torch.mm(left, right)  # the first one sets the library up
    best = float("inf")
    for _ in range(_N_RUNS):
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
        if best > limit:
            break
    return best
