"""Changing an index that lies in a folder: adding passages, deleting some, compacting. Ids stay what they are.

Adding appends to the files and then replaces the manifest; deleting only replaces the manifest. Whoever has the index
open keeps what was there when it was opened. A process that dies leaves the former index whole.
Leaves out: encoding the passages (xm.search), the files themselves (xm.index.parts).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from xm.errors import IndexFolderError, XmError
from xm.index.codec import encode
from xm.index.files import FileRecord, append_array, append_lines, json_line
from xm.index.flat import FlatIndex
from xm.index.manifest import Manifest, read_manifest, sweep, write_manifest, writing
from xm.index.parts import IDS, PASSAGES, PIECES, Index, id_lines, token_arrays
from xm.index.passages import line_of
from xm.index.store import open_index, write_generation
from xm.index.table import PassageTable, table_of
from xm.types import Corpus, TokenEmbeddings


def add_passages(
    folder: str | Path, corpus: Corpus, embeddings: Sequence[TokenEmbeddings], *, model: str, revision: str
) -> None:
    """Add passages to an index. A centroid index encodes them with the codec it has.

    Args:
        folder: the index.
        corpus: the passages; their ids must be new.
        embeddings: one per passage, in the corpus's order.
        model: name of the checkpoint that encoded them.
        revision: its content digest or hub revision, which must be the index's.

    Raises:
        XmError: an id is there already, or the embeddings do not belong to the passages.
        IndexFolderError: another model made the index, the index is damaged, or it cannot be written.
    """
    path = Path(folder)
    read_manifest(path)  # no lock file is left in a folder that is no index
    table = table_of(corpus, embeddings, model=model, revision=revision)
    vectors = np.concatenate([item.vectors for item in embeddings], dtype=np.float32)
    with writing(path):
        index, manifest = _open_for_change(path)
        _check_addition(index, table, vectors)
        _append(path, index, manifest, table, vectors)


def delete_passages(folder: str | Path, passage_ids: Sequence[str]) -> None:
    """Delete passages from an index. They keep their room on the disk until it is compacted.

    Raises:
        XmError: no passage has one of the ids, or none would be left.
        IndexFolderError: the index is damaged, or cannot be written.
    """
    path = Path(folder)
    read_manifest(path)
    with writing(path):
        index, manifest = _open_for_change(path)
        places = sorted({index.place_of(passage_id) for passage_id in passage_ids})
        if len(places) == index.n_passages:
            raise XmError(f"all {len(places)} passages would be deleted; an index holds at least one, so delete {path}")
        lengths = index.table.bounds[places, 1] - index.table.bounds[places, 0]
        now = replace(
            manifest,
            deleted=tuple(sorted([*manifest.deleted, *index.table.live[places].tolist()])),
            n_passages=manifest.n_passages - len(places),
            n_tokens=manifest.n_tokens - int(lengths.sum()),
        )
        write_manifest(path, now)


def compact(folder: str | Path) -> None:
    """Write an index anew without its deleted passages, and with its inverted lists in one piece.

    A centroid index keeps its codec: one trained on decoded embeddings was measured to bring nothing back. Where added
    passages are unlike those the codec was trained on, build the index again from the texts.

    Raises:
        IndexFolderError: the index is damaged, or cannot be written.
    """
    path = Path(folder)
    read_manifest(path)
    with writing(path):
        # What is damaged must not get new digests.
        index, _ = _open_for_change(path, verify=True)
        write_generation(index, path)


def check_new_ids(index: Index, corpus: Corpus) -> None:
    """Refuse, with an XmError, passages whose ids an index has already."""
    there = set(index.corpus.passage_ids)
    twice = [passage_id for passage_id in corpus.passage_ids if passage_id in there]
    if twice:
        raise XmError(
            f"{len(twice)} of the {len(corpus.passages)} passages have ids that the index has already, like "
            f"{twice[0]!r}; delete those first, or give the new ones other ids"
        )


def _open_for_change(folder: Path, *, verify: bool | None = None) -> tuple[Index, Manifest]:
    """Open the index for the one writer, who has the lock, and remove what killed writers left."""
    manifest = read_manifest(folder)
    sweep(folder, keep=manifest.generation)
    return open_index(folder, verify=verify), manifest


def _check_addition(index: Index, table: PassageTable, vectors: np.ndarray) -> None:
    """Refuse passages that do not belong into this index."""
    if (table.revision, vectors.shape[1]) != (index.revision, index.dim):
        raise IndexFolderError(
            f"the index was built with {index.model} (revision {index.revision[:12]}, dim {index.dim}), the new "
            f"passages were encoded with {table.model} (revision {table.revision[:12]}, dim {vectors.shape[1]}); "
            f"encode them with the former"
        )
    check_new_ids(index, table.corpus)


def _append(path: Path, index: Index, manifest: Manifest, table: PassageTable, vectors: np.ndarray) -> None:
    """Append passages to the files, then commit; where that fails, the files get their former lengths."""
    places = {piece: place for place, piece in enumerate(index.table.pieces)}
    new_places = np.array([places.setdefault(piece, len(places)) for piece in table.pieces], dtype=np.int32)
    lines = [line_of(passage) for passage in table.corpus.passages]
    n_line_bytes = manifest.files[PASSAGES].n_bytes
    arrays = token_arrays(replace(table, token_ids=new_places[table.token_ids]))
    arrays |= {
        "starts.npy": manifest.n_stored_tokens + table.starts[1:],
        "line_starts.npy": n_line_bytes + np.cumsum([len(line) for line in lines], dtype=np.int64),
    }
    if isinstance(index, FlatIndex):
        arrays["vectors.npy"] = vectors.astype(index.vectors.dtype)
    else:
        codes = encode(index.codec, vectors)
        arrays |= {"centroid_ids.npy": codes.centroid_ids, "residuals.npy": codes.residuals}
    pieces = [json_line(piece) for piece in list(places)[len(index.table.pieces) :]]
    texts = {PASSAGES: lines, IDS: id_lines(table.corpus), PIECES: pieces}
    files, data = dict(manifest.files), manifest.data(path)
    try:
        for name, array in arrays.items():
            files[name] = append_array(data / name, files[name], array)
        for name, new_lines in texts.items():
            files[name] = append_lines(data / name, files[name], new_lines)
        n_passages, n_tokens = manifest.n_passages + table.n_passages, manifest.n_tokens + table.n_tokens
        write_manifest(path, replace(manifest, files=files, n_passages=n_passages, n_tokens=n_tokens))
    except OSError:
        if read_manifest(path) == manifest:
            _cut(data, manifest.files)
        raise


def _cut(data: Path, files: dict[str, FileRecord]) -> None:
    """Give a full disk its room back. Where even that fails, what lies beyond the committed bytes does not count."""
    for name, record in files.items():
        with suppress(OSError), (data / name).open("r+b") as file:
            file.truncate(record.n_bytes)
