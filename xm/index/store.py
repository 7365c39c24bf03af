"""An index as a folder: a small manifest that commits, and a folder of files, opened by memory mapping.

manifest.json names the generation, a folder of files beside it, and how much of each file counts. A build writes a new
generation and then replaces the manifest in one step, so a build that dies leaves the former index whole.
Leaves out: what an index does (xm.index.flat, xm.index.centroid), changing one (xm.index.change), and which model may
open it (xm.search).
"""

import shutil
from pathlib import Path

import numpy as np

from xm.errors import IndexFolderError, XmError
from xm.folders import sync_names
from xm.index.centroid import CentroidIndex
from xm.index.flat import FlatIndex
from xm.index.lists import lists_of
from xm.index.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    Manifest,
    generations,
    looks_like_index,
    read_manifest,
    strangers,
    sweep,
    write_manifest,
    writing,
)
from xm.index.parts import Index, create_parts, open_parts
from xm.index.table import PassageTable
from xm.types import Codes

__all__ = ["FORMAT_VERSION", "Index", "check_target", "is_index_folder", "open_index", "save_index", "write_generation"]
# Up to this size every byte is compared with its digest when an index is opened: half a second on two cores.
VERIFY_BELOW = 256_000_000
_TRIES = 10  # a reader that meets a writer each time it looks gives up after this many


def is_index_folder(folder: str | Path) -> bool:
    """Say whether a folder is an index, whole or damaged, rather than a corpus."""
    path = Path(folder)
    return (path / MANIFEST).is_file() or looks_like_index(path)


def check_target(folder: str | Path) -> None:
    """Refuse, before any work is done, a place that `save_index` would refuse: a file, or a folder of other things."""
    path = Path(folder)
    if path.is_dir():
        if others := strangers(path):
            raise IndexFolderError(f"{path} is a folder with {others[0]!r} in it, no index; name another folder")
    elif path.exists() or path.is_symlink():
        raise IndexFolderError(f"{path} is not a folder; name a folder for the index, new or an index to replace")


def save_index(index: Index, folder: str | Path) -> None:
    """Write an index, replacing the one in `folder` if there is one; until the last moment that one stays whole.

    Deleted passages are left out.

    Raises:
        IndexFolderError: `folder` holds something else, cannot be written, or another process is writing to it.
    """
    path = Path(folder)
    check_target(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexFolderError(f"the index cannot be written to {path}: {error.strerror or error}") from error
    with writing(path):
        write_generation(index, path)


def open_index(folder: str | Path, *, verify: bool | None = None) -> Index:
    """Open an index folder; arrays are memory-mapped, and texts are read when they are asked for.

    Args:
        folder: what `save_index` wrote.
        verify: compare every file with its digest. None: if the index is small enough not to be waited for
            (VERIFY_BELOW); of a larger one, the small files. Sizes, types and counts are always compared.

    Raises:
        IndexFolderError: the folder is missing, no index, of another format version, truncated or damaged; the
            message names the file.
    """
    path = Path(folder)
    if not path.is_dir():
        raise IndexFolderError(f"no index at {path}; build one with `xm index CORPUS --out {path}`")
    manifest = read_manifest(path)
    for _ in range(_TRIES):
        try:
            return open_parts(path, manifest, verify=manifest.n_bytes <= VERIFY_BELOW if verify is None else verify)
        except (IndexFolderError, FileNotFoundError) as error:
            # A writer may have replaced the generation after its manifest was read: then there is a newer manifest.
            newer = read_manifest(path)
            if newer.generation == manifest.generation:
                raise IndexFolderError(str(error)) from error
            manifest = newer
    raise IndexFolderError(f"the index at {path} is being replaced again and again; try when that is done")


def write_generation(index: Index, folder: Path) -> None:
    """Write the live passages of an index as a new generation and commit it; the caller holds the lock (`writing`)."""
    number = max(generations(folder), default=0) + 1
    index = live_only(index)
    data = folder / f"generation-{number:06}"
    try:
        data.mkdir()
        files = create_parts(index, data)
        sync_names(data)
        manifest = Manifest(
            kind="flat" if isinstance(index, FlatIndex) else "centroid",
            generation=number,
            model=index.model,
            revision=index.revision,
            dim=index.dim,
            dtype=str(index.vectors.dtype) if isinstance(index, FlatIndex) else "",
            n_bits=0 if isinstance(index, FlatIndex) else index.codec.n_bits,
            n_passages=index.n_passages,
            n_tokens=index.n_tokens,
            name=index.corpus.name,
            notes=index.corpus.notes,
            deleted=(),
            files=files,
        )
        write_manifest(folder, manifest)
    except OSError:
        # A last flush may fail after the commit; what is committed must stay.
        if _committed(folder) != number:
            shutil.rmtree(data, ignore_errors=True)
        raise
    sweep(folder, keep=number)


def live_only(index: Index) -> Index:
    """Return an index without its deleted passages, and with its inverted lists in one piece; in memory.

    Raises:
        XmError: no passage is left.
    """
    table = index.table
    n_lists = 1 if isinstance(index, FlatIndex) else len(index.lists)
    if table.n_passages == table.n_stored and n_lists == 1:
        return index
    if table.n_passages == 0:
        raise XmError(f"no passage of {table.corpus.name!r} is left; an index holds at least one")
    lengths = table.bounds[:, 1] - table.bounds[:, 0]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.arange(starts[-1]) + np.repeat(table.bounds[:, 0] - starts[:-1], lengths)
    used, token_ids = np.unique(table.token_ids[rows], return_inverse=True)
    kept = PassageTable(
        corpus=table.corpus,
        model=table.model,
        revision=table.revision,
        starts=starts,
        live=np.arange(len(lengths), dtype=np.int64),
        token_ids=token_ids.astype(np.int32),
        pieces=tuple(table.pieces[token_id] for token_id in used.tolist()),
        offsets=table.offsets[rows],
        kinds=table.kinds[rows],
        n_unseen=table.n_unseen[table.live],
    )
    if isinstance(index, FlatIndex):
        return FlatIndex(kept, index.vectors[rows])
    codes = Codes(index.codes.centroid_ids[rows], index.codes.residuals[rows])
    lists = lists_of(codes.centroid_ids, starts, n_centroids=index.codec.n_centroids)
    return CentroidIndex(kept, index.codec, codes, (lists,))


def _committed(folder: Path) -> int | None:
    """The generation that is committed, None if there is none."""
    try:
        return read_manifest(folder).generation
    except IndexFolderError:
        return None
