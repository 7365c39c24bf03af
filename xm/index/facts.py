"""What an index folder is, found out from its manifest and, if asked, from every byte: `xm info DIR`.

Leaves out: opening it for search (xm.index.store).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xm.index.files import FileRecord
from xm.index.flat import FlatIndex
from xm.index.manifest import read_manifest
from xm.index.store import open_index

# The files of each part of an index; all others hold texts.
_PARTS = {
    "embeddings": ("vectors.npy", "centroid_ids.npy", "residuals.npy"),
    "lists": ("list_passages.npy", "list_starts.npy"),
    "codec": ("centroids.npy", "cutoffs.npy", "weights.npy"),
    "tokens": ("token_ids.npy", "offsets.npy", "kinds.npy"),
}


@dataclass(frozen=True)
class IndexFacts:
    """An index folder in numbers.

    n_deleted: passages that are deleted and keep their room until the index is compacted. n_bits, n_centroids: of a
    centroid index. dtype: of a flat index's embeddings. bytes_on_disk: of all its files. token_bytes: its
    parts, divided by the stored tokens. exact: whether scores are MaxSim on the embeddings as they were encoded;
    `scores` says it in words. verified: whether every byte was compared with its digest.
    """

    kind: Literal["flat", "centroid"]
    model: str
    revision: str
    corpus: str
    languages: tuple[str, ...]
    n_passages: int
    n_tokens: int
    n_deleted: int
    dim: int
    n_bits: int | None
    n_centroids: int | None
    dtype: str | None
    bytes_on_disk: int
    token_bytes: dict[str, float]
    exact: bool
    scores: str
    verified: bool


def inspect_index(folder: str | Path, *, verify: bool = True) -> IndexFacts:
    """Say what an index folder holds.

    Args:
        folder: the index.
        verify: compare every byte with its digest, which takes seconds for gigabytes.

    Raises:
        IndexFolderError: it is no index, or damaged; the message names the file.
    """
    index = open_index(folder, verify=verify)
    manifest = read_manifest(Path(folder))
    is_flat = isinstance(index, FlatIndex)
    dtype = str(index.vectors.dtype) if is_flat else None
    if is_flat:
        scores = "exact" if dtype == "float32" else f"exact MaxSim on embeddings rounded to {dtype}"
    else:
        scores = f"approximate: MaxSim on embeddings of {index.codec.n_bits} bits a number, for passages a search keeps"
    return IndexFacts(
        kind="flat" if is_flat else "centroid",
        model=index.model,
        revision=index.revision,
        corpus=index.corpus.name,
        languages=index.corpus.languages,
        n_passages=index.n_passages,
        n_tokens=index.n_tokens,
        n_deleted=index.table.n_stored - index.n_passages,
        dim=index.dim,
        n_bits=None if is_flat else index.codec.n_bits,
        n_centroids=None if is_flat else index.codec.n_centroids,
        dtype=dtype,
        bytes_on_disk=sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()),
        token_bytes=_token_bytes(manifest.files, index.table.n_stored_tokens),
        exact=dtype == "float32",
        scores=scores,
        verified=verify,
    )


def _token_bytes(files: Mapping[str, FileRecord], n_tokens: int) -> dict[str, float]:
    """Bytes of each part of an index by token; parts that it does not have are left out."""
    sizes = {name: record.n_bytes / n_tokens for name, record in files.items()}
    parts = {part: sum(sizes.pop(name, 0.0) for name in names) for part, names in _PARTS.items()}
    return {part: size for part, size in {**parts, "texts": sum(sizes.values())}.items() if size}
