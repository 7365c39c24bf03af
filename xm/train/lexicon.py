"""Start a new vocabulary's word embeddings from an English model's, by translation.

A piece of another language gets the mean of the English embeddings it translates to. Translations come from parallel
sentences (IBM Model 1: Brown et al. 1993), and for pieces these do not cover from static embeddings of each language
(PPMI and SVD: Levy et al. 2015) rotated onto the English ones (Procrustes; after WECHSEL: Minixhofer et al. 2022).
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

_WINDOW = 4
_N_NEIGHBORS = 8


def cooccurrence_embeddings(
    sentences: Sequence[np.ndarray], *, n_pieces: int, dim: int = 200, seed: int = 0
) -> np.ndarray:
    """Embed the pieces of one language by what stands near them.

    Args:
        sentences: piece ids, (n_tokens,) int each.
        n_pieces: size of the vocabulary.
        dim: singular vectors kept.

    Returns:
        (n_pieces, dim) float32, unit rows; zero rows for pieces that occur fewer than 5 times.
    """
    from sklearn.utils.extmath import randomized_svd

    flat = np.concatenate([np.append(ids, np.full(_WINDOW, -1)) for ids in sentences])
    counts = np.bincount(flat[flat >= 0], minlength=n_pieces)
    kept = np.flatnonzero(counts >= 5)
    position = np.full(n_pieces + 1, -1)
    position[kept] = np.arange(len(kept))
    flat = position[flat]
    near = sparse.csr_matrix((len(kept), len(kept)), dtype=np.float32)
    for distance in range(1, _WINDOW + 1):
        left, right = flat[:-distance], flat[distance:]
        both = (left >= 0) & (right >= 0)
        weight = np.full(both.sum(), 1.0 / distance, dtype=np.float32)
        step = sparse.coo_matrix((weight, (left[both], right[both])), shape=near.shape).tocsr()
        near = near + step + step.T
    ppmi = _ppmi(near.tocoo())
    left, values, _ = randomized_svd(ppmi, n_components=min(dim, len(kept) - 1), n_iter=2, random_state=seed)
    vectors = np.zeros((n_pieces, dim), dtype=np.float32)
    vectors[kept, : len(values)] = _unit(left * np.sqrt(values))
    return vectors


def _ppmi(near: sparse.coo_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information with the context counts smoothed by 0.75 (Levy et al. 2015)."""
    total = near.sum()
    row = np.asarray(near.sum(axis=1)).ravel() / total
    column = np.asarray(near.sum(axis=0)).ravel() ** 0.75
    column /= column.sum()
    information = np.log(near.data / total / (row[near.row] * column[near.col]))
    positive = information > 0
    cells = (near.row[positive], near.col[positive])
    return sparse.csr_matrix((information[positive].astype(np.float32), cells), shape=near.shape)


def translation_table(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, n_pieces: int, n_iter: int = 6
) -> sparse.csr_matrix:
    """Learn which English pieces a foreign piece translates to (IBM Model 1, EM).

    Args:
        pairs: (foreign piece ids, English piece ids) per sentence pair.

    Returns:
        (n_pieces, n_pieces) sparse expected counts: row f, column e says how often f was aligned with e.
    """
    foreign = np.concatenate([np.repeat(f, len(e)) for f, e in pairs])
    english = np.concatenate([np.tile(e, len(f)) for f, e in pairs])
    # One group per English token of each pair: the foreign tokens of the pair compete for it.
    sizes = np.cumsum([0] + [len(e) for _, e in pairs])
    group = np.concatenate([np.tile(np.arange(sizes[i], sizes[i + 1]), len(f)) for i, (f, _) in enumerate(pairs)])
    cells, cell = np.unique(foreign.astype(np.int64) * n_pieces + english, return_inverse=True)
    cell_foreign = cells // n_pieces
    probability = np.ones(len(cells))
    for _ in range(n_iter):
        weight = probability[cell]
        posterior = weight / np.bincount(group, weight)[group]
        expected = np.bincount(cell, posterior)
        probability = expected / np.bincount(cell_foreign, expected)[cell_foreign]
    return sparse.csr_matrix((expected, (cell_foreign, cells % n_pieces)), shape=(n_pieces, n_pieces))


def translate_embeddings(
    table: sparse.csr_matrix, foreign: np.ndarray, english: np.ndarray, english_words: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give each foreign piece an embedding made of English ones.

    Args:
        table: expected translation counts from `translation_table`.
        foreign: (n_pieces, static dim) static embeddings of the language; zero rows are unknown.
        english: (n_pieces, static dim) the same for English.
        english_words: (n_pieces, hidden) the English model's word embeddings; zero rows are unknown.

    Returns:
        (n_pieces, hidden) embeddings and (n_pieces,) bool, True where there is one.
    """
    usable = np.abs(english_words).sum(axis=1) > 0
    table = table.multiply(usable[None, :]).tocsr()
    support = np.asarray(table.sum(axis=1)).ravel()
    share = sparse.diags(1 / np.maximum(support, 1e-9)) @ table
    share = share.multiply(share > 0.1).tocsr()  # Model 1 leaves a long tail of chance pairs
    strength = np.asarray(share.sum(axis=1)).ravel()
    from_table = np.asarray(share @ english_words) / np.maximum(strength, 1e-9)[:, None]
    trusted = (strength > 0.3) & (support >= 1.5)

    from_map, mapped = _mapped(share, trusted, foreign, english, english_words * usable[:, None])
    table_weight = np.where(trusted, support, 0.0)
    map_weight = np.where(mapped, 2.0, 0.0)  # a mapping counts as much as two aligned occurrences
    total = table_weight + map_weight
    blend = (table_weight[:, None] * from_table + map_weight[:, None] * from_map) / np.maximum(total, 1e-9)[:, None]
    return blend.astype(np.float32), total > 0


def _mapped(
    share: sparse.csr_matrix, trusted: np.ndarray, foreign: np.ndarray, english: np.ndarray, english_words: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate the foreign static space onto the English one; take each piece's nearest English embeddings."""
    partner = np.asarray(share.argmax(axis=1)).ravel()
    known_foreign, known_english = np.abs(foreign).sum(axis=1) > 0, np.abs(english).sum(axis=1) > 0
    anchors = np.flatnonzero(trusted & known_foreign & known_english[partner])
    if len(anchors) < 50:
        return np.zeros((len(foreign), english_words.shape[1])), np.zeros(len(foreign), dtype=bool)
    u, _, vt = np.linalg.svd(foreign[anchors].T @ english[partner[anchors]])
    targets = np.flatnonzero(known_english & (np.abs(english_words).sum(axis=1) > 0))
    result = np.zeros((len(foreign), english_words.shape[1]))
    rows = np.flatnonzero(known_foreign)
    for block in np.array_split(rows, max(1, len(rows) // 2_000)):
        cosine = foreign[block] @ (u @ vt) @ english[targets].T
        nearest = np.argpartition(-cosine, _N_NEIGHBORS, axis=1)[:, :_N_NEIGHBORS]
        weight = np.exp(10 * np.take_along_axis(cosine, nearest, axis=1))
        weight /= weight.sum(axis=1, keepdims=True)
        result[block] = np.einsum("ij,ijk->ik", weight, english_words[targets[nearest]])
    return result, known_foreign


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
