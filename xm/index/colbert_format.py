"""ColBERT's own on-disk layout: an index that colbert-ai wrote is read, and one is written that colbert-ai opens.

The layout holds codes, centroids and lengths, and neither ids nor texts nor tokens; what xm knows of those lies in
files beside (`SIDECAR`), which colbert-ai does not look at. Leaves out: search, and xm's own folders (xm.index.store).
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xm.errors import IndexFolderError, XmError
from xm.folders import replace_folder
from xm.index.centroid import CentroidIndex
from xm.index.codec import Codec, decode, id_type
from xm.index.lists import InvertedLists, lists_of
from xm.index.passages import line_of, passage_from
from xm.index.store import live_only
from xm.index.table import KINDS, PassageTable, table_of
from xm.index.torch_files import read_tensors, write_tensors
from xm.types import NO_SPAN, Codes, Corpus, TokenEmbeddings

SIDECAR = ("xm.json", "xm-tokens.npz", "xm-passages.jsonl")
COLLECTION = "collection.tsv"  # the texts as colbert-ai reads them: a number and a text a line
_UNKNOWN = "?"  # shown for a token that nobody told
# Embeddings and their 1-bit codes agree to 0.8 and more; those of two checkpoints do not agree at all.
_LEAST_COSINE = 0.5


@dataclass(frozen=True, eq=False)
class ColbertFiles:
    """What a folder in ColBERT's layout holds. lengths: (n_passages,) int64, tokens of each passage, in order.

    config: what metadata.json says of how it was made, such as `checkpoint`, under ColBERT's own keys.
    """

    codec: Codec
    codes: Codes
    lengths: np.ndarray
    config: Mapping[str, Any]


def read_colbert(folder: str | Path) -> ColbertFiles:
    """Read an index in ColBERT's layout (colbert-ai 0.2); nothing in it is executed.

    Raises:
        IndexFolderError: a file is missing or damaged, or the files contradict each other; the message names them.
    """
    path = Path(folder)
    metadata = _read_json(path / "metadata.json")
    try:
        config, n_chunks, n_bits = metadata["config"], int(metadata["num_chunks"]), int(metadata["config"]["nbits"])
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFolderError(f"{path / 'metadata.json'} is not that of a ColBERT index: {error!r}") from error
    (centroids,) = read_tensors(path / "centroids.pt")
    buckets = read_tensors(path / "buckets.pt")
    if len(buckets) != 2:
        raise IndexFolderError(f"{path / 'buckets.pt'} holds {len(buckets)} tensors; expected cutoffs and weights")
    chunks = [_read_chunk(path, number) for number in range(n_chunks)]
    if not chunks:
        raise IndexFolderError(f"{path / 'metadata.json'} counts no chunk; an index has at least one")
    ids, residuals, lengths = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    try:
        codec = Codec(centroids.astype(np.float32), *(part.astype(np.float32) for part in buckets), n_bits=n_bits)
        codes = Codes(ids.astype(id_type(len(centroids))), residuals)
    except (ValueError, XmError) as error:
        raise IndexFolderError(f"the files of {path} do not fit each other: {error}") from error
    if residuals.shape[1] * 8 != codec.dim * n_bits or ids.min() < 0 or ids.max() >= codec.n_centroids:
        raise IndexFolderError(
            f"{path}: residuals of {residuals.shape[1]} bytes and centroid ids from {ids.min()} to {ids.max()} do not "
            f"fit {codec.n_centroids} centroids of {codec.dim} dimensions and {n_bits} bits"
        )
    if lengths.sum() != len(ids) or lengths.min() < 1:
        raise IndexFolderError(f"{path}: doclens add up to {lengths.sum()}, the codes are those of {len(ids)} tokens")
    return ColbertFiles(codec, codes, lengths, config)


def import_colbert(
    folder: str | Path,
    corpus: Corpus | None = None,
    embeddings: Sequence[TokenEmbeddings] | None = None,
    *,
    model: str = "",
    revision: str = "",
) -> CentroidIndex:
    """Make a centroid index of an index in ColBERT's layout; decoded vectors and scores are colbert-ai's own.

    Args:
        folder: what colbert-ai, or `export_colbert`, wrote.
        corpus: the collection it was made of, in its order. None: as `export_colbert` left it beside the index.
        embeddings: the same passages encoded by the checkpoint it was made with, for their tokens and character
            spans, and to check that it is this checkpoint. None: tokens are shown as "?".
        model: name of that checkpoint, which queries must be encoded with; by default what the index says.
        revision: its digest or hub revision.

    Raises:
        IndexFolderError: a file is missing or damaged, or no corpus came with the index or the call.
        XmError: corpus or embeddings are not those that the index was made of.
    """
    path = Path(folder)
    files = read_colbert(path)
    if corpus is None:
        table = _read_sidecar(path, files.lengths)
    else:
        model = model or str(files.config.get("checkpoint"))
        table = _table_of(files, corpus, embeddings, model=model, revision=revision)
    lists = lists_of(files.codes.centroid_ids, table.starts, n_centroids=files.codec.n_centroids)
    return CentroidIndex(table, files.codec, files.codes, (lists,))


def export_colbert(index: CentroidIndex, folder: str | Path, *, checkpoint: str) -> None:
    """Write an index in ColBERT's layout, for colbert-ai on a CPU to search with the same scores.

    Carried: codes, centroids (in float32, where colbert-ai itself rounds to float16), inverted lists, texts with their
    tabs and line ends as spaces. A passage is known there by its place. Ids, languages, tokens and the texts as they
    are lie in the sidecar. Deleted passages are left out.

    Args:
        index: the index.
        folder: new, or empty.
        checkpoint: folder or hub name of the checkpoint in Stanford's layout that colbert-ai is to encode queries with.

    Raises:
        IndexFolderError: `folder` holds something, or cannot be written.
        XmError: the dimensions are no multiple of 8, which colbert-ai cannot read.
    """
    path = Path(folder)
    if index.dim % 8:
        raise XmError(f"the index has {index.dim} dimensions; colbert-ai reads multiples of 8 alone")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise IndexFolderError(f"{path} is not empty; name a new folder")
    live = live_only(index)
    try:
        replace_folder(path, lambda building: _fill(live, building, checkpoint, str(path.resolve() / COLLECTION)))
    except OSError as error:
        raise IndexFolderError(f"the index cannot be written to {path}: {error.strerror or error}") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IndexFolderError(f"{path} cannot be read ({error.strerror}); a ColBERT index has one") from error
    except (ValueError, RecursionError) as error:
        raise IndexFolderError(f"{path} is no JSON: {error}") from error


def _read_chunk(path: Path, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the centroid ids, the packed residuals and the passages' lengths of one chunk."""
    (ids,) = read_tensors(path / f"{number}.codes.pt")
    (residuals,) = read_tensors(path / f"{number}.residuals.pt")
    lengths = _read_json(path / f"doclens.{number}.json")
    if not isinstance(lengths, list) or not all(type(length) is int for length in lengths):
        raise IndexFolderError(f"{path / f'doclens.{number}.json'} is no list of whole numbers")
    if ids.ndim != 1 or ids.dtype.kind != "i" or residuals.dtype != np.uint8 or residuals.shape[:1] != ids.shape:
        raise IndexFolderError(
            f"chunk {number} of {path} has codes {ids.dtype} {ids.shape} and residuals {residuals.dtype} "
            f"{residuals.shape}; expected whole numbers (n_tokens,) and uint8 (n_tokens, n_bytes)"
        )
    return ids, residuals, np.asarray(lengths, dtype=np.int64)


def _table_of(
    files: ColbertFiles, corpus: Corpus, embeddings: Sequence[TokenEmbeddings] | None, *, model: str, revision: str
) -> PassageTable:
    """Put together what is known of the passages, and refuse others than the index was made of."""
    n_passages, n_tokens = len(files.lengths), len(files.codes.centroid_ids)
    if len(corpus.passages) != n_passages:
        raise XmError(f"{corpus.name!r} has {len(corpus.passages)} passages, the index {n_passages}; give its own")
    if embeddings is not None:
        table = table_of(corpus, embeddings, model=model, revision=revision)
        _check_embeddings(files, corpus, embeddings)
        return table
    return PassageTable(
        corpus=corpus,
        model=model,
        revision=revision,
        starts=_starts_of(files.lengths),
        live=np.arange(n_passages, dtype=np.int64),
        token_ids=np.zeros(n_tokens, dtype=np.int32),
        pieces=(_UNKNOWN,),
        offsets=np.full((n_tokens, 2), NO_SPAN, dtype=np.int32),
        kinds=np.full(n_tokens, KINDS.index("content"), dtype=np.uint8),
        n_unseen=np.zeros(n_passages, dtype=np.int64),
    )


def _check_embeddings(files: ColbertFiles, corpus: Corpus, embeddings: Sequence[TokenEmbeddings]) -> None:
    """Refuse embeddings that another checkpoint, or another reading of the texts, has made."""
    for passage, item, length in zip(corpus.passages, embeddings, files.lengths.tolist(), strict=True):
        if len(item.tokens) != length:
            raise XmError(
                f"passage {passage.passage_id!r} has {len(item.tokens)} tokens here and {length} in the index; give "
                "the index's own collection, encoded by the checkpoint it was made with"
            )
    vectors = np.concatenate([item.vectors for item in embeddings])
    if vectors.shape[1] != files.codec.dim:
        raise XmError(f"the embeddings have {vectors.shape[1]} dimensions, the index {files.codec.dim}")
    cosine = float(np.einsum("ij,ij->i", vectors, decode(files.codec, files.codes)).mean(dtype=np.float64))
    if cosine < _LEAST_COSINE:
        raise XmError(
            f"the embeddings agree with the index's to a mean cosine of {cosine:.2f}, of at least {_LEAST_COSINE} "
            f"expected; it was made with another checkpoint ({files.config.get('checkpoint')!r})"
        )


def _fill(index: CentroidIndex, folder: Path, checkpoint: str, collection: str) -> None:
    """Write all files of an index whose passages are all live."""
    codec, codes, (lists,) = index.codec, index.codes, index.lists
    lengths = np.diff(index.table.starts).tolist()
    weights = np.abs(codec.byte_weights).mean(axis=1)
    write_tensors(folder / "centroids.pt", codec.centroids)
    write_tensors(folder / "buckets.pt", codec.cutoffs, codec.weights, as_tuple=True)
    write_tensors(folder / "avg_residual.pt", np.float32(weights[codes.residuals].mean()).reshape(()))
    write_tensors(folder / "0.codes.pt", codes.centroid_ids.astype(np.int32))
    write_tensors(folder / "0.residuals.pt", codes.residuals)
    write_tensors(folder / "ivf.pid.pt", *_inverted(lists, codec.n_centroids), as_tuple=True)
    counts = {"num_passages": len(lengths), "num_embeddings": len(codes.centroid_ids)}
    config = {"checkpoint": checkpoint, "collection": collection, "dim": codec.dim, "nbits": codec.n_bits}
    metadata = {"config": config, "num_chunks": 1, "num_partitions": codec.n_centroids}
    metadata |= {"num_embeddings": counts["num_embeddings"], "avg_doclen": float(np.mean(lengths))}
    _write_json(folder / "doclens.0.json", lengths)
    _write_json(folder / "0.metadata.json", {"passage_offset": 0, **counts, "embedding_offset": 0})
    _write_json(folder / "metadata.json", metadata)
    texts = (" ".join(passage.text.split()) for passage in index.corpus.passages)
    lines = (f"{place}\t{text}\n" for place, text in enumerate(texts))
    (folder / COLLECTION).write_bytes("".join(lines).encode("utf-8", "replace"))
    _write_sidecar(index.table, folder)


def _inverted(lists: InvertedLists, n_centroids: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the passages of every centroid's list one after the other, int32, and the lists' lengths, int64."""
    passages = [lists.passages_of(centroid_id) for centroid_id in range(n_centroids)]
    return np.concatenate(passages).astype(np.int32), np.array([len(part) for part in passages], dtype=np.int64)


def _write_sidecar(table: PassageTable, folder: Path) -> None:
    """Write what ColBERT's layout has no place for."""
    facts, tokens, passages = (folder / name for name in SIDECAR)
    names = {"name": table.corpus.name, "notes": table.corpus.notes, "pieces": table.pieces}
    _write_json(facts, {**names, "model": table.model, "revision": table.revision})
    arrays = {"token_ids": table.token_ids, "offsets": table.offsets, "kinds": table.kinds}
    np.savez(tokens, **arrays, n_unseen=table.n_unseen)
    passages.write_bytes(b"".join(map(line_of, table.corpus.passages)))


def _read_sidecar(folder: Path, lengths: np.ndarray) -> PassageTable:
    """Read what `_write_sidecar` wrote, for passages of these lengths."""
    facts, tokens, passages = (folder / name for name in SIDECAR)
    if not facts.is_file():
        raise IndexFolderError(f"{folder} holds no texts, as ColBERT's layout has none; give the corpus it was made of")
    try:
        values = _read_json(facts)
        with np.load(tokens, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in ("token_ids", "offsets", "kinds", "n_unseen")}
        lines = passages.read_bytes().splitlines()
        corpus = Corpus(values["name"], tuple(map(passage_from, lines)), tuple(values["notes"]))
        table = PassageTable(
            corpus=corpus,
            model=values["model"],
            revision=values["revision"],
            starts=_starts_of(lengths),
            live=np.arange(len(lengths), dtype=np.int64),
            pieces=tuple(values["pieces"]),
            **columns,
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise IndexFolderError(f"{folder} has a damaged sidecar ({', '.join(SIDECAR)}): {error!r}") from error
    n_tokens = int(table.starts[-1])
    rows = {"token_ids": (n_tokens,), "offsets": (n_tokens, 2), "kinds": (n_tokens,), "n_unseen": (len(lengths),)}
    fits = all(columns[name].shape == shape for name, shape in rows.items()) and len(corpus.passages) == len(lengths)
    if not fits or table.token_ids.max() >= len(table.pieces) or table.kinds.max() >= len(KINDS):
        raise IndexFolderError(f"{folder}: {', '.join(SIDECAR)} are those of another index")
    return table


def _starts_of(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes((json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))
