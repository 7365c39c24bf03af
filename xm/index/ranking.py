"""What every index does alike: refuse a query that does not fit, and turn scores into hits.

Leaves out: the scores themselves (xm.index.kernels, xm.index.stages).
"""

from collections.abc import Callable

import numpy as np

from xm.errors import XmError
from xm.maxsim import maxsim
from xm.types import Hit

# Float32 sums of the same rows differ in their last bits with the order they are added in. Everything this close to the
# last hit is scored again as its alignment is, so that hits show that very score and equal passages get equal scores.
_ROUNDING = 1e-4


def check_query(query_vectors: np.ndarray, *, dim: int, model: str) -> None:
    """Refuse, with an XmError, embeddings that are not (n_query, dim) or not finite."""
    if query_vectors.ndim != 2 or query_vectors.shape[1] != dim or len(query_vectors) == 0:
        raise XmError(
            f"the query has shape {query_vectors.shape}, this index needs (n_query, {dim}) with n_query of 1 or more; "
            f"encode the query with {model}"
        )
    if not np.isfinite(query_vectors).all():
        raise XmError("the query's embeddings hold numbers that are not finite; encode the query again")


def check_k(k: int) -> None:
    """Refuse, with an XmError, to return no hit."""
    if k < 1:
        raise XmError(f"k is {k}; ask for at least 1 hit")


def rank_hits(
    query_vectors: np.ndarray,
    scores: np.ndarray,
    k: int,
    *,
    read: Callable[[int], tuple[str, np.ndarray]],
    exact: bool,
) -> tuple[Hit, ...]:
    """Turn scores into hits by falling score, ties by passage id.

    Args:
        query_vectors: (n_query, dim) float32.
        scores: (n_passages,) float64, right up to rounding.
        k: hits wanted; fewer passages give as many as they are.
        read: returns the id and the embeddings, (n_tokens, dim) float32, of the passage at a place in `scores`.
        exact: what the hits say of themselves.
    """
    k = min(k, len(scores))
    if k == 0:
        return ()
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    found = []
    for place in np.flatnonzero(scores >= last - _ROUNDING).tolist():
        passage_id, vectors = read(place)
        found.append((-maxsim(query_vectors, vectors), passage_id))
    return tuple(
        Hit(passage_id=passage_id, score=-negative, rank=rank, exact=exact)
        for rank, (negative, passage_id) in enumerate(sorted(found)[:k], start=1)
    )
