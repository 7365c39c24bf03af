"""Exact MaxSim over many passages at the speed of the processor: one pass over the embeddings, every core at work.

Leaves out: which passages are live, hits and their order (xm.index.flat).
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from xm.errors import XmError
from xm.index.threads import n_cores
from xm.options import FLAT_LIMIT_TOKENS

# Up to this many tokens numpy scores: it takes a few milliseconds, and importing numba takes a hundred times that.
_SMALL_TOKENS = 16_384
# Tokens a thread takes at a time: 0.5 MB of 128 dimensions, which stay in the core's own cache when they are widened.
_CHUNK_TOKENS = 1_024
# How the bits of a short float become a float32: how far those behind the sign move to the left, and the factor that
# then puts the exponent right. Halves have 10 bits of mantissa to float32's 23, and count exponents from 15, not 127.
_WIDENING = {np.dtype(np.float16): (13, 2.0**112), np.dtype(np.uint16): (16, 1.0)}


def score_passages(
    query_vectors: np.ndarray, vectors: np.ndarray, starts: np.ndarray, *, n_threads: int | None = None
) -> np.ndarray:
    """Score every passage by exact MaxSim: Khattab & Zaharia 2020, equation 3.

    Args:
        query_vectors: (n_query, dim) float32.
        vectors: (n_tokens, dim) float32, float16, or uint16 with the bits of bfloat16, a type numpy lacks. Short floats
            are widened as they are read and summed as float32: the scores are the exact ones of what is stored.
        starts: (n_passages + 1,) int64; the tokens of passage i are rows starts[i] to starts[i + 1], at least one.
        n_threads: threads at work; without it, one for each core this process may use.

    Returns:
        (n_passages,) float64.

    Raises:
        XmError: the vectors are of another type.
    """
    if vectors.dtype != np.float32 and vectors.dtype not in _WIDENING:
        raise XmError(f"the vectors are {vectors.dtype}; give float32, float16, or bfloat16's bits as uint16")
    query_vectors = np.ascontiguousarray(query_vectors, dtype=np.float32)
    if len(vectors) <= _SMALL_TOKENS:
        return _score_with_numpy(query_vectors, vectors, starts)
    vectors, starts = np.ascontiguousarray(vectors), np.ascontiguousarray(starts, dtype=np.int64)
    n_threads = n_threads or n_cores()
    for function in (_score_rows,) if vectors.dtype == np.float32 else (_score_rows, _widen):
        _compiled(function)  # here, or else each thread would
    scores = np.empty(len(starts) - 1, dtype=np.float64)
    work = (query_vectors, vectors, starts, _chunks_of(starts), scores)  # whoever is done with a chunk takes the next
    others = ThreadPoolExecutor(n_threads)
    begun = [others.submit(_score_chunks, *work) for _ in range(n_threads - 1)]
    _score_chunks(*work)
    others.shutdown(wait=False)
    for other in begun:
        if not other.cancel():  # on a busy machine one may not have started yet: there is nothing left for it to do
            other.result()
    return scores


def warm_up() -> None:
    """Compile for every type of embeddings, or load what an earlier process compiled: else the first search waits."""
    for function in (_score_rows, _widen):
        _compiled(function)


def advice(n_tokens: int) -> str | None:
    """Return what to tell who builds a flat index of so many tokens; None where it answers while one waits."""
    if n_tokens <= FLAT_LIMIT_TOKENS:
        return None
    return (
        f"a flat index of {n_tokens:,} tokens answers slowly: above {FLAT_LIMIT_TOKENS:,} a query takes over 150 ms on "
        "two cores. --kind centroid is faster; its scores are approximate"
    )


def _score_with_numpy(query_vectors: np.ndarray, vectors: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Score passages in one matrix product; arguments and result as in `score_passages`."""
    if vectors.dtype == np.uint16:
        vectors = (vectors.astype(np.uint32) << 16).view(np.float32)
    cells = vectors.astype(np.float32, copy=False) @ query_vectors.T
    return np.maximum.reduceat(cells, starts[:-1], axis=0).sum(axis=1, dtype=np.float64)


def _chunks_of(starts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut passages into runs of about _CHUNK_TOKENS tokens: the first passage of each, and the one after its last."""
    cuts = np.searchsorted(starts, np.arange(0, starts[-1], _CHUNK_TOKENS), side="right") - 1
    cuts = np.unique(np.append(cuts, len(starts) - 1)).tolist()
    return iter(list(zip(cuts[:-1], cuts[1:], strict=True)))


def _score_chunks(
    query_vectors: np.ndarray,
    vectors: np.ndarray,
    starts: np.ndarray,
    chunks: Iterator[tuple[int, int]],
    scores: np.ndarray,
) -> None:
    """Score the passages of each chunk that no other thread takes first; write them into `scores`."""
    score_rows = _compiled(_score_rows)
    short = vectors.dtype != np.float32
    if short:
        widen, (shift, factor) = _compiled(_widen), _WIDENING[vectors.dtype]
        wide = np.empty((0, vectors.shape[1]), dtype=np.float32)
    for first, after in chunks:
        rows = vectors[starts[first] : starts[after]]
        if short:
            if len(rows) > len(wide):
                wide = np.empty(rows.shape, dtype=np.float32)
            widen(rows.view(np.uint16), shift, factor, wide[: len(rows)].view(np.uint32), wide[: len(rows)])
            rows = wide[: len(rows)]
        score_rows(query_vectors, rows, starts[first : after + 1], scores[first:after])


def _score_rows(query_vectors: np.ndarray, rows: np.ndarray, starts: np.ndarray, scores: np.ndarray) -> None:
    """Score passages whose embeddings are `rows`, from row starts[0] of the corpus on; write into `scores`.

    Four query tokens meet two passage tokens at a time: their eight sums stay in registers, and six loads feed eight
    multiplications. Where tokens do not come out even, the last one is taken again, which changes no maximum.
    """
    n_query, dim = query_vectors.shape
    best = np.empty(n_query + 3, dtype=np.float32)
    for passage in range(len(scores)):
        best[:] = -np.inf
        last = starts[passage + 1] - starts[0] - 1
        for row in range(starts[passage] - starts[0], last + 1, 2):
            x, y = rows[row], rows[min(row + 1, last)]
            for i in range(0, n_query, 4):
                a, b = query_vectors[i], query_vectors[min(i + 1, n_query - 1)]
                c, d = query_vectors[min(i + 2, n_query - 1)], query_vectors[min(i + 3, n_query - 1)]
                ax = ay = bx = by = cx = cy = dx = dy = np.float32(0)
                for j in range(dim):
                    ax += a[j] * x[j]
                    ay += a[j] * y[j]
                    bx += b[j] * x[j]
                    by += b[j] * y[j]
                    cx += c[j] * x[j]
                    cy += c[j] * y[j]
                    dx += d[j] * x[j]
                    dy += d[j] * y[j]
                best[i] = max(best[i], max(ax, ay))
                best[i + 1] = max(best[i + 1], max(bx, by))
                best[i + 2] = max(best[i + 2], max(cx, cy))
                best[i + 3] = max(best[i + 3], max(dx, dy))
        total = 0.0
        for i in range(n_query):
            total += best[i]
        scores[passage] = total


def _widen(short: np.ndarray, shift: int, factor: np.float32, bits: np.ndarray, wide: np.ndarray) -> None:
    """Widen short floats, given as uint16, into `wide`, a float32 array of the same shape; `bits` is its uint32 view.

    Right for finite numbers, those too small to be normal included.
    """
    for row in range(short.shape[0]):
        for j in range(short.shape[1]):
            number = np.uint32(short[row, j])
            bits[row, j] = ((number & 0x7FFF) << shift) | ((number & 0x8000) << 16)
        for j in range(short.shape[1]):
            wide[row, j] *= factor


@functools.cache
def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile one of the two functions above, or load what an earlier process compiled. They run without the GIL."""
    import numba  # here, not above: a small corpus needs none of it

    def read(dtype: object, n: int) -> object:
        return numba.types.Array(dtype, n, "C", readonly=True)

    short, number, count = numba.uint16, numba.float32, numba.int64
    signature = {
        _score_rows: (read(number, 2), read(number, 2), read(count, 1), numba.float64[::1]),
        _widen: (read(short, 2), count, number, numba.uint32[:, ::1], number[:, ::1]),
    }[function]
    # The order of additions is free, a multiplication and an addition may be one: what wide registers need.
    options = {"nogil": True, "fastmath": {"reassoc", "contract"}}
    try:
        return numba.njit([signature], cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder it can write to
        return numba.njit([signature], **options)(function)
