"""Qdrant Edge: multivectors compared by MaxSim, one after the other (exact) or through HNSW."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import qdrant_edge as edge

_NAME = "tokens"
_BLOCK = 256  # points in one update


def build(vectors: np.ndarray, starts: np.ndarray, folder: Path, *, indexed: bool) -> None:
    """Write a shard; its optimizer builds the HNSW graph, with its defaults, if asked for."""
    folder.mkdir(parents=True)
    maxsim = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    kind = edge.EdgeVectorParams(size=vectors.shape[1], distance=edge.Distance.Dot, multivector_config=maxsim)
    shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors={_NAME: kind}))
    for first in range(0, len(starts) - 1, _BLOCK):
        places = range(first, min(first + _BLOCK, len(starts) - 1))
        points = [edge.Point(place, {_NAME: vectors[starts[place] : starts[place + 1]].tolist()}) for place in places]
        shard.update(edge.UpdateOperation.upsert_points(points))
    if indexed:
        shard.optimize()
    shard.flush()
    shard.close()


def open_index(data: Path, folder: Path, *, exact: bool) -> Callable[[np.ndarray, int], list[int]]:
    """Open the shard."""
    shard = edge.EdgeShard.load(str(folder))
    params = edge.SearchParams(exact=exact)

    def ask(query: np.ndarray, k: int) -> list[int]:
        nearest = edge.Query.Nearest(query.tolist(), using=_NAME)
        return [int(point.id) for point in shard.query(edge.QueryRequest(limit=k, query=nearest, params=params))]

    return ask
