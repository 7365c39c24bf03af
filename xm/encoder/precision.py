"""Number formats: which one this processor multiplies fastest, found by trying, and a backbone's layers in it."""

import time
import warnings
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from xm.options import EncodeOptions

Precision = Literal["float32", "bfloat16", "int8"]

_WORTH = 1.3  # bfloat16 must win by this much to be worth its rounding
_N_RUNS = 3
_STEPS = 127  # of an int8 weight on either side of zero


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8, one scale an output; inputs are rounded to 7 bits, one scale a call.

    So a text's vectors depend a little on those it is encoded with. 7 bits and not 8, as AVX2 adds two products into
    16 bits and would overflow. torch 2.13 warns that its int8 tensors will go one day; torch is pinned, and nothing
    chooses int8 unless asked.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny).double() / _STEPS
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (n_tokens, n_in) float32 to (n_tokens, n_out) float32."""
        return torch.ops.quantized.linear_dynamic(hidden, self._packed, reduce_range=True)


def choose_precision(options: EncodeOptions) -> Precision:
    """Return the format asked for; "auto" is bfloat16 or float32, whichever is fast here, and never int8."""
    if options.exact:
        return "float32"
    return fast_precision() if options.precision == "auto" else options.precision


def lower(module: nn.Module, precision: Precision) -> None:
    """Put the layers of `module` into a number format, in place."""
    if precision == "bfloat16":
        module.bfloat16()
    elif precision == "int8":
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
            else:
                lower(child, precision)


@cache
def fast_precision() -> Literal["float32", "bfloat16"]:
    """Return bfloat16 where it clearly beats float32, float32 elsewhere; about 10 ms, once per process.

    Having the instructions is no guide: without AMX, bfloat16 is 4 to 60 times slower than float32.
    """
    passages = torch.ones(128, 384)
    weights = torch.ones(384, 384)
    whole = _seconds(passages, weights, limit=float("inf"))
    half = _seconds(passages.bfloat16(), weights.bfloat16(), limit=20 * whole)
    return "bfloat16" if half * _WORTH < whole else "float32"


def _seconds(left: Tensor, right: Tensor, *, limit: float) -> float:
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
