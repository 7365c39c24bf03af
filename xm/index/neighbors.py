"""Nearest neighbours among token embeddings, found exactly by faiss. The one module here that imports it.

Leaves out: what the neighbours are for (xm.token_map).
"""

import os
import sys

import numpy as np

if sys.platform == "darwin":
    # torch and faiss each bring an OpenMP; on macOS the second one to load ends the process unless this is set.
    os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")

import faiss


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find each row's k nearest rows by cosine, itself first.

    Args:
        vectors: (n, dim) float32, unit rows.
        k: neighbours wanted, the row itself included; never more than n are given.

    Returns:
        ids: (n, min(k, n)) int64 and cosines: (n, min(k, n)) float32, by falling cosine after the row itself.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    cosines, ids = index.search(rows, min(k, len(rows)))
    return _self_first(ids, cosines)


def _self_first(ids: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring each row's own id to the front; among duplicates faiss may place it later, or leave it out."""
    own = np.arange(len(ids))
    matches = ids == own[:, None]
    places = np.where(matches.any(axis=1), matches.argmax(axis=1), ids.shape[1] - 1)
    keep = np.arange(ids.shape[1])[None, :] != places[:, None]
    rest = (len(ids), ids.shape[1] - 1)
    own_cosines = np.take_along_axis(cosines, places[:, None], axis=1)
    return (
        np.concatenate([own[:, None], ids[keep].reshape(rest)], axis=1),
        np.concatenate([own_cosines, cosines[keep].reshape(rest)], axis=1),
    )
