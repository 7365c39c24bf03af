"""Fewer vectors for a text: one by mean, max or CLS, or clusters of its tokens, with what was merged said.

Everything is numpy and works on any TokenEmbeddings. Leaves out: the pooling of hidden states that a single-vector
checkpoint asks for (xm.encoder.heads).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from xm.encoder.recipe import Pooling
from xm.types import NO_SPAN, TokenEmbeddings


@dataclass(frozen=True, eq=False)
class PooledTokens:
    """Token embeddings after token pooling.

    embeddings: one row a group, in the order of their first tokens; a group shows its tokens joined by "+", has the
    kind of its first token, and a span only if it is one token. groups: per row, the indices of the tokens it merges.
    """

    embeddings: TokenEmbeddings
    groups: tuple[tuple[int, ...], ...]


def pool_vector(embeddings: TokenEmbeddings, pooling: Pooling) -> np.ndarray:
    """Return one unit vector, (dim,) float32, for a text.

    Args:
        embeddings: of the text.
        pooling: "mean" of the tokens, "max" of each dimension over them, or "cls", the first token.

    Raises:
        ValueError: there is no token, or the vectors cancel each other out.
    """
    vectors = embeddings.vectors.astype(np.float64)
    if not len(vectors):
        raise ValueError("a text without scored tokens has no vector")
    ways = {"mean": lambda: vectors.mean(axis=0), "max": lambda: vectors.max(axis=0), "cls": lambda: vectors[0]}
    return _unit(ways[pooling]())


def pool_tokens(embeddings: TokenEmbeddings, *, factor: int, n_protected: int = 1) -> PooledTokens:
    """Merge alike tokens of a passage, so that about 1 / factor of its vectors are left.

    Ward clustering on 1 - cosine as Stanford ColBERT and PyLate do it (Clavie et al. 2024, "Reducing the footprint of
    multi-vector retrieval with minimal performance impact via token pooling"): at most n // factor clusters, at least
    one, each the mean of its tokens at unit length. (PyLate 1.6 leaves the mean as short as it is.)

    Args:
        embeddings: of a passage; pooling queries is not what the method is for.
        factor: 1 leaves everything as it is; 2 and 3 are usual.
        n_protected: that many first tokens stay as they are.

    Raises:
        ValueError: factor is below 1, n_protected is negative, or the tokens of a cluster cancel each other out.
    """
    if factor < 1 or n_protected < 0:
        raise ValueError(f"factor must be from 1 and n_protected from 0; got {factor} and {n_protected}")
    n_tokens = len(embeddings.vectors)
    free = np.arange(min(n_protected, n_tokens), n_tokens)
    labels = np.arange(n_tokens)  # each token is a cluster of its own
    if factor > 1 and len(free) > 1:
        labels[free] = n_tokens + _clusters(embeddings.vectors[free], max(len(free) // factor, 1))
    found: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        found.setdefault(label, []).append(index)
    groups = tuple(map(tuple, found.values()))
    return PooledTokens(_merged(embeddings, groups), groups)


def _clusters(vectors: np.ndarray, n_clusters: int) -> np.ndarray:
    """Number the cluster of each row, (n_tokens,), at most n_clusters of them."""
    distances = 1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    distances = np.maximum((distances + distances.T) / 2, 0)  # rounding leaves a token slightly off itself
    np.fill_diagonal(distances, 0)
    return fcluster(linkage(squareform(distances, checks=False), method="ward"), t=n_clusters, criterion="maxclust")


def _merged(embeddings: TokenEmbeddings, groups: tuple[tuple[int, ...], ...]) -> TokenEmbeddings:
    """Average each group, and say what is in it."""
    means = [_unit(embeddings.vectors[list(group)].astype(np.float64).mean(axis=0)) for group in groups]
    alone = [len(group) == 1 for group in groups]
    spans = [embeddings.offsets[group[0]] if one else NO_SPAN for group, one in zip(groups, alone, strict=True)]
    return replace(
        embeddings,
        vectors=np.array(means, np.float32).reshape(len(groups), embeddings.vectors.shape[1]),
        tokens=tuple("+".join(embeddings.tokens[index] for index in group) for group in groups),
        offsets=np.array(spans, np.int32).reshape(len(groups), 2),
        kinds=tuple(embeddings.kinds[group[0]] for group in groups),
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    """Return the vector at length 1, float32."""
    length = np.linalg.norm(vector)
    if length < 1e-12:
        raise ValueError("the vectors to be pooled cancel each other out: their mean has no direction")
    return (vector / length).astype(np.float32)
