"""K-means on the unit sphere, by faiss: how the centroids of a compressed index are found.

Leaves out: how many centroids, and from which tokens (xm.index.codec).
"""

import numpy as np

from xm.index.neighbors import faiss


def spherical_kmeans(vectors: np.ndarray, n_centroids: int, *, n_iter: int, seed: int) -> np.ndarray:
    """Find centroids of unit vectors: (n_centroids, dim) float32, unit rows; the same for the same seed.

    Args:
        vectors: (n, dim) float32, unit rows.
        n_centroids: at most n.
        n_iter: rounds of assigning and averaging.
        seed: of the vectors that are the first centroids.
    """
    n, dim = vectors.shape
    kmeans = faiss.Kmeans(
        dim,
        n_centroids,
        niter=n_iter,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,  # faiss would warn on the console; the sample is the caller's
        max_points_per_centroid=n,  # every vector takes part
    )
    kmeans.train(np.ascontiguousarray(vectors, dtype=np.float32))
    return kmeans.centroids.astype(np.float32, copy=False)
