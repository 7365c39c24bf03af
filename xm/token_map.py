"""The token map: token embeddings of a query, its hits and a sample of the corpus, laid out in two dimensions.

PCA is there at once; UMAP (McInnes et al. 2018) takes seconds and keeps neighbours together. The same seed gives the
same picture. Leaves out: drawing (xm.figures), nearest neighbours (xm.index.neighbors).
"""

import hashlib
import importlib.metadata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xm import cache
from xm.errors import XmError
from xm.index.flat import FlatIndex
from xm.index.table import KINDS
from xm.options import MapOptions
from xm.types import TokenEmbeddings, TokenMap

Method = Literal["pca", "umap"]
# Below this many different embeddings there are no neighbourhoods to keep, and UMAP's spectral start fails.
_MIN_FOR_UMAP = 20
_CONTEXT_CHARS = 30
_FORMAT_VERSION = "1"


@dataclass(frozen=True, eq=False)
class _Points:
    """The tokens of the map before they have a place: whose they are, which of its tokens, and their embeddings."""

    passage_ids: list[str]
    texts: list[TokenEmbeddings]
    token_indices: list[int]
    n_sample: int
    n_corpus_tokens: int

    @property
    def vectors(self) -> np.ndarray:
        """(n_tokens, dim) float32."""
        return np.stack([text.vectors[i] for text, i in zip(self.texts, self.token_indices, strict=True)])


def build_map(
    index: FlatIndex,
    query: TokenEmbeddings | None,
    passage_ids: Sequence[str],
    *,
    options: MapOptions = MapOptions(),
    method: Method = "pca",
) -> TokenMap:
    """Lay out the tokens of a query and of some passages, with a seeded sample of the corpus around them.

    Args:
        index: where the passages' embeddings are.
        query: as encoded; None for a map of the corpus alone.
        passage_ids: hits, in their order; all their tokens are shown.
        options: seed, sample size, kinds of token, UMAP's own.
        method: "umap" falls back to PCA, and the map's `method` says so, where there are too few different embeddings.

    Returns:
        Points in this order: the query's tokens (passage id ""), the passages', the sample's.

    Raises:
        XmError: a passage id is unknown, the query is of another dim, or the options leave no token.
    """
    if query is not None and query.vectors.shape[1] != index.dim:
        raise XmError(f"the query has dim {query.vectors.shape[1]}, the index {index.dim}; encode with {index.model}")
    points = _gather(index, query, passage_ids, options)
    vectors = points.vectors
    if method == "umap" and len(np.unique(vectors, axis=0)) < _MIN_FOR_UMAP:
        method = "pca"
    return TokenMap(
        xy=lay_out_by_pca(vectors) if method == "pca" else _lay_out_by_umap(vectors, options),
        passage_ids=tuple(points.passage_ids),
        tokens=tuple(text.tokens[i] for text, i in zip(points.texts, points.token_indices, strict=True)),
        languages=tuple(text.language.code for text in points.texts),
        kinds=tuple(text.kinds[i] for text, i in zip(points.texts, points.token_indices, strict=True)),
        contexts=tuple(_context(text, i) for text, i in zip(points.texts, points.token_indices, strict=True)),
        token_indices=tuple(points.token_indices),
        method=method,
        seed=options.seed,
        n_corpus_tokens=points.n_corpus_tokens,
        n_sample=points.n_sample,
    )


def lay_out_by_pca(vectors: np.ndarray) -> np.ndarray:
    """Project on the two directions of largest variance.

    Args:
        vectors: (n_tokens, dim) float32.

    Returns:
        (n_tokens, 2) float32. An axis is flipped so that its largest coefficient is positive, as its sign is arbitrary.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)  # by rising variance
    axes = directions[:, ::-1][:, :2]
    if axes.shape[1] < 2:
        axes = np.concatenate([axes, np.zeros_like(axes)], axis=1)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None, :], axis=0)
    return (centred @ (axes * np.where(largest < 0, -1.0, 1.0))).astype(np.float32)


def warm_up() -> None:
    """Compile UMAP's loops (seconds, once a process), so that the first map of a visitor need not wait for it."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 16)).astype(np.float32)
    _fit_umap(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), MapOptions(n_epochs=2))


def _gather(
    index: FlatIndex, query: TokenEmbeddings | None, passage_ids: Sequence[str], options: MapOptions
) -> _Points:
    """Collect the tokens to show."""
    shown = list(dict.fromkeys(passage_ids))
    sources = [("", query)] if query is not None else []
    sources += [(passage_id, index.reconstruct(passage_id)) for passage_id in shown]
    points: list[tuple[str, TokenEmbeddings, int]] = []
    for passage_id, text in sources:
        points += [(passage_id, text, i) for i, kind in enumerate(text.kinds) if kind in options.kinds]
    sampled, n_corpus_tokens = _sample(index, shown, options)
    found: dict[int, TokenEmbeddings] = {}
    for place, i in sampled:
        passage_id = index.corpus.passages[place].passage_id
        if place not in found:
            found[place] = index.reconstruct(passage_id)
        points.append((passage_id, found[place], i))
    if not points:
        raise XmError(f"no token is of a kind the map shows ({', '.join(options.kinds) or 'none'}); choose more kinds")
    ids, texts, indices = (list(column) for column in zip(*points, strict=True))
    return _Points(ids, texts, indices, len(sampled), n_corpus_tokens)


def _sample(index: FlatIndex, shown: Sequence[str], options: MapOptions) -> tuple[list[tuple[int, int]], int]:
    """Draw corpus tokens that are not shown already: (place of the passage, token in it); and how many there are."""
    table = index.table
    lengths = table.bounds[:, 1] - table.bounds[:, 0]
    places = np.repeat(np.arange(table.n_passages), lengths)
    tokens = np.arange(table.n_tokens) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kinds = table.kinds[table.bounds[places, 0] + tokens]
    wanted = np.isin(kinds, [KINDS.index(kind) for kind in options.kinds])
    n_corpus_tokens = int(wanted.sum())
    wanted &= ~np.isin(places, [table.place_of(passage_id) for passage_id in shown])
    rng = np.random.default_rng(options.seed)
    drawn = np.sort(rng.permutation(np.flatnonzero(wanted))[: options.n_sample])
    return list(zip(places[drawn].tolist(), tokens[drawn].tolist(), strict=True)), n_corpus_tokens


def _lay_out_by_umap(vectors: np.ndarray, options: MapOptions) -> np.ndarray:
    """Look a UMAP layout up in the cache, or compute it and keep it."""
    data = hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()
    how = str((options.seed, options.n_neighbors, options.min_dist, options.n_epochs))
    key = ("map", _FORMAT_VERSION, importlib.metadata.version("umap-learn"), how, data)
    entry = cache.read(*key)
    if entry is not None and entry.arrays.get("xy", np.empty(0)).shape == (len(vectors), 2):
        return entry.arrays["xy"]
    xy = _fit_umap(vectors, options)
    cache.write(*key, arrays={"xy": xy}, facts={"n_tokens": len(vectors), "seed": options.seed})
    return xy


def _fit_umap(vectors: np.ndarray, options: MapOptions) -> np.ndarray:
    """Run UMAP on neighbours that faiss found; starting from PCA keeps the two pictures alike."""
    from umap import UMAP

    from xm.index.neighbors import nearest

    # Given neighbours, umap warns that it cannot place new points later; nobody here asks it to.
    warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]", category=UserWarning)
    n_neighbors = min(options.n_neighbors, len(vectors) - 1)
    ids, cosines = nearest(vectors, n_neighbors)
    distances = np.clip(1.0 - cosines, 0.0, 2.0)
    start = lay_out_by_pca(vectors)
    model = UMAP(
        n_neighbors=n_neighbors,
        min_dist=options.min_dist,
        n_epochs=options.n_epochs,
        metric="cosine",
        random_state=options.seed,
        n_jobs=1,  # what a fixed seed means anyway; said here so that umap does not warn
        init=10.0 * start / np.abs(start).max(),
        precomputed_knn=(ids.astype(np.int32), distances),
    )
    return model.fit_transform(vectors).astype(np.float32)


def _context(text: TokenEmbeddings, i: int) -> str:
    """The characters around a token, on one line; "" for a token that stands for none."""
    start, end = text.offsets[i].tolist()
    if start < 0:
        return ""
    first, last = max(0, start - _CONTEXT_CHARS), min(len(text.text), end + _CONTEXT_CHARS)
    around = " ".join(text.text[first:last].split())
    return ("…" if first > 0 else "") + around + ("…" if last < len(text.text) else "")
