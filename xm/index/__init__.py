"""Indexes: token embeddings of a corpus, searched by MaxSim and kept in a folder on disk."""

from xm.index.flat import FlatIndex, build_flat
from xm.index.store import is_index_folder, open_index, save_index

__all__ = ["FlatIndex", "build_flat", "is_index_folder", "open_index", "save_index"]
