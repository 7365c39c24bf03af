"""An index as a folder: manifest.json, passages.jsonl, tokens.json and .npy files, opened by memory mapping.

A build that dies leaves the former index whole (xm.folders).
Leaves out: what an index does (xm.index.flat), and which model may open it (xm.search).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from xm.errors import IndexFolderError
from xm.folders import readable_place, replace_folder
from xm.index.flat import KINDS, FlatIndex
from xm.types import Corpus, LanguageGuess, Passage

FORMAT = "xm-lens-index"
FORMAT_VERSION = 1
_MANIFEST = "manifest.json"
_PASSAGES = "passages.jsonl"
_PIECES = "tokens.json"
_VECTORS = "vectors.npy"
# Each array's type and number of rows, a count of the manifest; below, the columns of those that have them.
_ARRAYS: dict[str, tuple[type, str]] = {
    "vectors": (np.float32, "n_tokens"),
    "starts": (np.int64, "n_starts"),
    "token_ids": (np.int32, "n_tokens"),
    "offsets": (np.int32, "n_tokens"),
    "kinds": (np.uint8, "n_tokens"),
    "n_unseen": (np.int64, "n_passages"),
}
_COLUMNS = {"vectors": "dim", "offsets": 2}
_FILES = (_PASSAGES, _PIECES, *(f"{name}.npy" for name in _ARRAYS))
_REBUILD = "build the index again with `xm index`"


def is_index_folder(folder: str | Path) -> bool:
    """Say whether a folder is an index, whole or damaged, rather than a corpus."""
    path = readable_place(Path(folder))
    return (path / _MANIFEST).is_file() or (path / _VECTORS).is_file()


def check_target(folder: str | Path) -> None:
    """Refuse, before any work is done, a place that `save_index` would refuse: a file, or a folder of other things."""
    path = Path(folder)
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
        # A folder of passages.jsonl alone is somebody's corpus; only an index has vectors.
        strangers = sorted(names - {_MANIFEST, *_FILES} if _VECTORS in names else names)
        if strangers:
            raise IndexFolderError(f"{path} is a folder with {strangers[0]!r} in it, no index; name another folder")
    elif path.exists() or path.is_symlink():
        raise IndexFolderError(f"{path} is not a folder; name a folder for the index, new or an index to replace")


def save_index(index: FlatIndex, folder: str | Path) -> None:
    """Write an index, replacing the one in `folder` if there is one; until the last moment that one stays whole.

    Raises:
        IndexFolderError: `folder` holds something else, or cannot be written.
    """
    path = Path(folder)
    check_target(path)
    try:
        replace_folder(path, lambda building: _write_files(index, building))
    except OSError as error:
        raise IndexFolderError(f"the index cannot be written to {path}: {error.strerror or error}") from error


def open_index(folder: str | Path) -> FlatIndex:
    """Open an index folder; vectors are memory-mapped, every file is checked against its digest.

    Raises:
        IndexFolderError: the folder is missing, no index, of another format version, truncated or damaged; the
            message names the file.
    """
    path = readable_place(Path(folder))
    if not path.is_dir():
        raise IndexFolderError(f"no index at {path}; build one with `xm index CORPUS --out {path}`")
    manifest = _read_manifest(path)
    for name in _FILES:
        _check_file(path / name, manifest["files"].get(name))
    arrays = {name: _read_array(path / f"{name}.npy", name, manifest) for name in _ARRAYS}
    _check_ranges(path, arrays, manifest)
    return FlatIndex(
        corpus=_read_corpus(path / _PASSAGES, manifest),
        model=manifest["model"],
        revision=manifest["revision"],
        pieces=_read_pieces(path / _PIECES, arrays["token_ids"]),
        **arrays,
    )


def _write_files(index: FlatIndex, folder: Path) -> None:
    """Write every file of an index, the manifest last."""
    for name, (dtype, _) in _ARRAYS.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, np.ascontiguousarray(getattr(index, name), dtype=dtype), allow_pickle=False)
    _write_text(folder / _PIECES, json.dumps(index.pieces, ensure_ascii=False))
    _write_text(folder / _PASSAGES, "".join(_passage_line(passage) for passage in index.corpus.passages))
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": "flat",
        "model": index.model,
        "revision": index.revision,
        "dim": index.dim,
        "n_passages": index.n_passages,
        "n_tokens": index.n_tokens,
        "corpus": {"name": index.corpus.name, "digest": index.corpus.digest, "notes": index.corpus.notes},
        "files": {name: _facts_of(folder / name) for name in _FILES},
    }
    _write_text(folder / _MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")


def _passage_line(passage: Passage) -> str:
    """One passage as a line of JSON that `xm.read_corpus` can read too."""
    guess = asdict(passage.language)
    facts = {"id": passage.passage_id, "text": passage.text, "language": guess.pop("code"), **guess}
    return json.dumps({**facts, "parent_id": passage.parent_id}, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    """Write UTF-8; a corpus read from JSON may hold lone surrogates, which must survive."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _facts_of(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read manifest.json; IndexFolderError unless it is whole and of this format."""
    path = folder / _MANIFEST
    if not path.is_file():
        raise IndexFolderError(f"{path} is missing, so {folder} is no whole index; {_REBUILD}")
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise IndexFolderError(f"{path} is damaged ({error}); {_REBUILD}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise IndexFolderError(f"{path} is not the manifest of an XM Lens index; {_REBUILD}")
    version, kind = manifest.get("format_version"), manifest.get("kind")
    if version != FORMAT_VERSION or kind != "flat":
        raise IndexFolderError(
            f"{path} is of format version {version}, kind {kind!r}; this XM Lens reads version {FORMAT_VERSION}, kind "
            f"'flat': {_REBUILD}"
        )
    expected = {"model": str, "revision": str, "dim": int, "n_passages": int, "n_tokens": int, "files": dict}
    wrong = [name for name, kind in expected.items() if not isinstance(manifest.get(name), kind)]
    if wrong or not isinstance(manifest.get("corpus"), dict):
        raise IndexFolderError(f"{path} lacks {', '.join(wrong or ['corpus'])}; {_REBUILD}")
    return manifest


def _check_file(path: Path, facts: Mapping[str, Any] | None) -> None:
    """Compare a file with its size and digest in the manifest."""
    if not isinstance(facts, dict):
        raise IndexFolderError(f"{path.name} is not listed in {path.with_name(_MANIFEST)}; {_REBUILD}")
    if not path.is_file():
        raise IndexFolderError(f"{path} is missing; {_REBUILD}")
    n_bytes = path.stat().st_size
    if n_bytes != facts.get("bytes"):
        raise IndexFolderError(f"{path} has {n_bytes:,} bytes where {facts.get('bytes')} were written; {_REBUILD}")
    if _facts_of(path) != facts:
        raise IndexFolderError(f"{path} is not what was written (its digest differs); {_REBUILD}")


def _read_array(path: Path, name: str, manifest: Mapping[str, Any]) -> np.ndarray:
    """Map an array and check its type and shape."""
    counts = {**manifest, "n_starts": manifest["n_passages"] + 1}
    dtype, rows = _ARRAYS[name]
    column = _COLUMNS.get(name)
    shape = (counts[rows],) if column is None else (counts[rows], counts.get(column, column))
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise IndexFolderError(f"{path} cannot be read as an array ({error}); {_REBUILD}") from error
    if array.dtype != dtype or array.shape != shape:
        raise IndexFolderError(
            f"{path} is {array.dtype} of shape {array.shape}, expected {np.dtype(dtype)} of {shape}; {_REBUILD}"
        )
    # Memory-mapped rows are handed out as they are; the subclass would only slow small reads.
    return array.view(np.ndarray)


def _check_ranges(folder: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> None:
    """Refuse numbers that would point outside the arrays."""
    starts = arrays["starts"]
    if starts[0] != 0 or starts[-1] != manifest["n_tokens"] or (np.diff(starts) < 1).any():
        raise IndexFolderError(f"{folder / 'starts.npy'} does not rise from 0 to {manifest['n_tokens']}; {_REBUILD}")
    if (arrays["kinds"] >= len(KINDS)).any():
        raise IndexFolderError(f"{folder / 'kinds.npy'} holds numbers that name no kind of token; {_REBUILD}")


def _read_pieces(path: Path, token_ids: np.ndarray) -> tuple[str, ...]:
    """Read the distinct token strings; each token id must name one."""
    try:
        pieces = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise IndexFolderError(f"{path} is not the JSON list of tokens of an index ({error}); {_REBUILD}") from error
    if token_ids.min() < 0 or token_ids.max() >= len(pieces):
        raise IndexFolderError(f"{path} has {len(pieces)} tokens, fewer than token_ids.npy names; {_REBUILD}")
    return tuple(pieces)


def _read_corpus(path: Path, manifest: Mapping[str, Any]) -> Corpus:
    """Read the passages and check them against the manifest."""
    facts = manifest["corpus"]
    # Lines end at \n alone: a passage may hold U+2028 and the like, at which str.splitlines would cut.
    lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")[:-1]
    try:
        corpus = Corpus(facts["name"], tuple(_read_passage(line) for line in lines), tuple(facts["notes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise IndexFolderError(f"{path} holds no passages as an index writes them ({error!r}); {_REBUILD}") from error
    if corpus.digest != facts.get("digest") or len(corpus.passages) != manifest["n_passages"]:
        raise IndexFolderError(f"{path} does not hold the passages that {_MANIFEST} names; {_REBUILD}")
    return corpus


def _read_passage(line: str) -> Passage:
    """One passage back from its line."""
    facts = json.loads(line)
    guess = LanguageGuess(
        code=facts["language"],
        probability=facts["probability"],
        source=facts["source"],
        margin=facts["margin"],
        runner_up=facts["runner_up"],
    )
    return Passage(facts["id"], facts["text"], guess, facts["parent_id"])
