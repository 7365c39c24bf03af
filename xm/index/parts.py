"""Which files an index of each kind has, and how an index becomes files and files an index again.

Leaves out: when files count (xm.index.manifest), changing an index (xm.index.change).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xm.errors import IndexFolderError
from xm.index.centroid import CentroidIndex
from xm.index.codec import Codec, id_type
from xm.index.files import (
    REBUILD,
    FileRecord,
    check_file,
    create_array,
    create_lines,
    json_line,
    map_array,
    map_bytes,
    read_json_lines,
)
from xm.index.flat import FlatIndex
from xm.index.lists import BLOCK_PASSAGES, InvertedLists, lists_of
from xm.index.manifest import Manifest
from xm.index.passages import StoredPassages, line_of
from xm.index.table import KINDS, PassageTable
from xm.types import Codes, Corpus

PASSAGES, IDS, PIECES = "passages.jsonl", "ids.jsonl", "pieces.jsonl"
_SMALL_BYTES = 4_000_000  # files up to this are compared with their digests at every opening: 10 ms
Index = FlatIndex | CentroidIndex


def layout(manifest: Manifest) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return type and columns of each array of an index, by the name of its file."""
    arrays: dict[str, tuple[type, tuple[int, ...]]] = {
        "starts.npy": (np.int64, ()),
        "token_ids.npy": (np.int32, ()),
        "offsets.npy": (np.int32, (2,)),
        "kinds.npy": (np.uint8, ()),
        "n_unseen.npy": (np.int64, ()),
        "line_starts.npy": (np.int64, ()),
    }
    if manifest.kind == "flat":
        arrays["vectors.npy"] = (np.float16 if manifest.dtype == "float16" else np.float32, (manifest.dim,))
    else:
        n_centroids = manifest.files["centroids.npy"].n_rows if "centroids.npy" in manifest.files else 0
        arrays |= {
            "centroids.npy": (np.float32, (manifest.dim,)),
            "cutoffs.npy": (np.float32, ()),
            "weights.npy": (np.float32, ()),
            "centroid_ids.npy": (id_type(n_centroids), ()),
            "residuals.npy": (np.uint8, (manifest.dim * manifest.n_bits // 8,)),
            "list_passages.npy": (np.uint16, ()),
            "list_starts.npy": (np.int64, (n_centroids + 1,)),
        }
    return {name: (np.dtype(dtype), columns) for name, (dtype, columns) in arrays.items()}


def create_parts(index: Index, data: Path) -> dict[str, FileRecord]:
    """Write every file of an index without deleted passages into the folder `data`."""
    table = index.table
    lines = [line_of(passage) for passage in table.corpus.passages]
    arrays = {"starts.npy": table.starts, "line_starts.npy": np.cumsum([0, *map(len, lines)], dtype=np.int64)}
    arrays |= token_arrays(table) | payload_arrays(index)
    if isinstance(index, CentroidIndex):
        (lists,) = index.lists
        arrays |= {
            "centroids.npy": index.codec.centroids,
            "cutoffs.npy": index.codec.cutoffs,
            "weights.npy": index.codec.weights,
            "list_passages.npy": lists.passages,
            "list_starts.npy": lists.starts,
        }
    files = {name: create_array(data / name, array) for name, array in arrays.items()}
    files[PASSAGES] = create_lines(data / PASSAGES, lines)
    files[IDS] = create_lines(data / IDS, id_lines(table.corpus))
    files[PIECES] = create_lines(data / PIECES, [json_line(piece) for piece in table.pieces])
    return files


def token_arrays(table: PassageTable) -> dict[str, np.ndarray]:
    """Return what is stored of a table's passages and tokens and means the same wherever it is appended."""
    return {
        "token_ids.npy": table.token_ids,
        "offsets.npy": table.offsets,
        "kinds.npy": table.kinds,
        "n_unseen.npy": table.n_unseen,
    }


def payload_arrays(index: Index) -> dict[str, np.ndarray]:
    """Return what is stored of the embeddings, a row a token."""
    if isinstance(index, FlatIndex):
        return {"vectors.npy": index.vectors}
    return {"centroid_ids.npy": index.codes.centroid_ids, "residuals.npy": index.codes.residuals}


def id_lines(corpus: Corpus) -> list[bytes]:
    """Return the lines that say, without the texts, which passages there are: id and XMOD code."""
    return [json_line([passage.passage_id, passage.language.code]) for passage in corpus.passages]


def open_parts(folder: Path, manifest: Manifest, *, verify: bool) -> Index:
    """Open what a manifest commits; arrays are memory-mapped.

    Args:
        folder: the index.
        manifest: as read from it.
        verify: compare every byte with its digest, and every number with its range; else small files alone.

    Raises:
        IndexFolderError: a file is missing, truncated, damaged or of another index; the message names it.
    """
    data, arrays = manifest.data(folder), layout(manifest)
    for name in (*arrays, PASSAGES, IDS, PIECES):
        if name not in manifest.files:
            raise IndexFolderError(f"{data / name} is not listed in the manifest; {REBUILD}")
        record = manifest.files[name]
        check_file(data / name, record, verify=verify or record.n_bytes <= _SMALL_BYTES)
    opened = {
        name: map_array(data / name, manifest.files[name], dtype=dtype, columns=columns)
        for name, (dtype, columns) in arrays.items()
    }
    _check_counts(data, opened, manifest)
    table = _open_table(data, opened, manifest)
    if verify:
        _check_ranges(data, opened, n_pieces=len(table.pieces))
    if manifest.kind == "flat":
        return FlatIndex(table, opened["vectors.npy"])
    codec = Codec(
        centroids=opened["centroids.npy"],
        cutoffs=opened["cutoffs.npy"],
        weights=opened["weights.npy"],
        n_bits=manifest.n_bits,
    )
    codes = Codes(opened["centroid_ids.npy"], opened["residuals.npy"])
    return CentroidIndex(table, codec, codes, _open_lists(opened, manifest))


def _open_table(data: Path, opened: Mapping[str, np.ndarray], manifest: Manifest) -> PassageTable:
    """Open all but the embeddings."""
    live = np.delete(np.arange(manifest.n_stored), np.asarray(manifest.deleted, dtype=np.int64))
    facts = read_json_lines(data / IDS, manifest.files[IDS])
    line_starts = opened["line_starts.npy"]
    try:
        ids_and_codes = [(str(passage_id), str(code)) for passage_id, code in facts]
        chosen = [ids_and_codes[place] for place in live.tolist()]
        passages = StoredPassages(
            data / PASSAGES,
            map_bytes(data / PASSAGES, manifest.files[PASSAGES]),
            np.stack([line_starts[live], line_starts[live + 1]], axis=1),
            passage_ids=[passage_id for passage_id, _ in chosen],
            codes=[code for _, code in chosen],
        )
        corpus = Corpus(manifest.name, passages, manifest.notes)
    except (ValueError, TypeError) as error:
        raise IndexFolderError(f"{data / IDS} does not name the passages of an index ({error}); {REBUILD}") from error
    return PassageTable(
        corpus=corpus,
        model=manifest.model,
        revision=manifest.revision,
        starts=opened["starts.npy"],
        live=live,
        token_ids=opened["token_ids.npy"],
        pieces=tuple(map(str, read_json_lines(data / PIECES, manifest.files[PIECES]))),
        offsets=opened["offsets.npy"],
        kinds=opened["kinds.npy"],
        n_unseen=opened["n_unseen.npy"],
    )


def _open_lists(opened: Mapping[str, np.ndarray], manifest: Manifest) -> tuple[InvertedLists, ...]:
    """The inverted lists of the passages the index was made with, and those of the passages added since."""
    base = InvertedLists(opened["list_passages.npy"], opened["list_starts.npy"])
    n_base = manifest.files["n_unseen.npy"].n_first
    if n_base == manifest.n_stored:
        return (base,)
    starts = opened["starts.npy"]
    tail = opened["centroid_ids.npy"][starts[n_base] :]
    n_centroids = len(opened["centroids.npy"])
    return base, lists_of(tail, starts[n_base:] - starts[n_base], n_centroids=n_centroids, first_passage=n_base)


def _check_counts(data: Path, opened: Mapping[str, np.ndarray], manifest: Manifest) -> None:
    """Refuse arrays whose lengths contradict each other: they would be read beyond their ends."""
    expected = {"starts.npy": manifest.n_stored + 1, "line_starts.npy": manifest.n_stored + 1}
    expected |= dict.fromkeys(("offsets.npy", "kinds.npy"), manifest.n_stored_tokens)
    if manifest.kind == "flat":
        expected["vectors.npy"] = manifest.n_stored_tokens
    else:
        expected |= dict.fromkeys(("centroid_ids.npy", "residuals.npy"), manifest.n_stored_tokens)
        expected["list_starts.npy"] = -(-manifest.files["n_unseen.npy"].n_first // BLOCK_PASSAGES)
        expected |= {"weights.npy": 2**manifest.n_bits, "cutoffs.npy": 2**manifest.n_bits - 1}
    for name, n_rows in expected.items():
        if len(opened[name]) != n_rows:
            raise IndexFolderError(f"{data / name} has {len(opened[name]):,} rows, expected {n_rows:,}; {REBUILD}")
    ends = {"starts.npy": manifest.n_stored_tokens, "line_starts.npy": manifest.files[PASSAGES].n_bytes}
    for name, end in ends.items():
        starts = opened[name]
        if starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 1).any():
            raise IndexFolderError(f"{data / name} does not rise from 0 to {end:,}; {REBUILD}")
    if "list_starts.npy" in opened:
        starts, end = opened["list_starts.npy"].reshape(-1), len(opened["list_passages.npy"])
        if starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 0).any():
            raise IndexFolderError(f"{data / 'list_starts.npy'} does not rise from 0 to {end:,}; {REBUILD}")
    deleted = np.asarray(manifest.deleted, dtype=np.int64)
    fits = len(deleted) == 0 or (deleted[0] >= 0 and deleted[-1] < manifest.n_stored and (np.diff(deleted) > 0).all())
    if not fits or manifest.n_passages != manifest.n_stored - len(deleted) or manifest.n_passages < 1:
        raise IndexFolderError(f"{data.parent} has a manifest that counts its passages wrongly; {REBUILD}")


def _check_ranges(data: Path, opened: Mapping[str, np.ndarray], *, n_pieces: int) -> None:
    """Refuse numbers that would point outside the arrays."""
    ends = {"token_ids.npy": n_pieces, "kinds.npy": len(KINDS)}
    if "centroids.npy" in opened:
        n_block = min(BLOCK_PASSAGES, len(opened["n_unseen.npy"]))
        ends |= {"centroid_ids.npy": len(opened["centroids.npy"]), "list_passages.npy": n_block}
    for name, end in ends.items():
        if opened[name].min() < 0 or opened[name].max() >= end:
            raise IndexFolderError(f"{data / name} holds numbers outside 0 to {end - 1:,}; {REBUILD}")
