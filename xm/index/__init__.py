"""Indexes: token embeddings of a corpus, searched by MaxSim and kept in a folder on disk."""

from xm.index.centroid import CentroidIndex, build_centroid
from xm.index.change import add_passages, compact, delete_passages
from xm.index.flat import FlatIndex, build_flat
from xm.index.kernels import warm_up
from xm.index.store import is_index_folder, open_index, save_index

__all__ = [
    "CentroidIndex",
    "FlatIndex",
    "add_passages",
    "build_centroid",
    "build_flat",
    "compact",
    "delete_passages",
    "is_index_folder",
    "open_index",
    "save_index",
    "warm_up",
]
