"""The manifest of an index folder: replacing this one small file is what commits a build, an addition or a deletion.

Leaves out: the files it lists (xm.index.files), which of them an index has (xm.index.parts).
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xm.errors import IndexFolderError
from xm.folders import locked, replace_file
from xm.index.files import REBUILD, FileRecord, record_from

FORMAT = "xm-lens-index"
FORMAT_VERSION = 2
MANIFEST = "manifest.json"
LOCK = "write.lock"
# The files of version 1, which stood beside the manifest; the last to be removed is the one that tells they are there.
_FORMER_SIGN = "vectors.npy"
_FORMER_FILES = ("passages.jsonl", "tokens.json", "starts.npy", "token_ids.npy", "offsets.npy", "kinds.npy") + (
    "n_unseen.npy",
    _FORMER_SIGN,
)
_GENERATION = re.compile(r"generation-(\d{6})")


@dataclass(frozen=True)
class Manifest:
    """What is committed: the generation (a folder of files), how much of each file counts, which passages are deleted.

    dtype: of a flat index's vectors. n_bits: of a centroid index's codes, 0 for a flat one. deleted: stored places,
    rising. n_passages and n_tokens: live ones, for people to read.
    """

    kind: Literal["flat", "centroid"]
    generation: int
    model: str
    revision: str
    dim: int
    dtype: str
    n_bits: int
    n_passages: int
    n_tokens: int
    name: str
    notes: tuple[str, ...]
    deleted: tuple[int, ...]
    files: dict[str, FileRecord]

    @property
    def n_stored(self) -> int:
        """Stored passages, deleted ones included."""
        return self.files["n_unseen.npy"].n_rows

    @property
    def n_stored_tokens(self) -> int:
        """Tokens of the stored passages."""
        return self.files["token_ids.npy"].n_rows

    @property
    def n_bytes(self) -> int:
        """Committed bytes of all files."""
        return sum(record.n_bytes for record in self.files.values())

    def data(self, folder: Path) -> Path:
        """Return the folder of this generation's files."""
        return folder / f"generation-{self.generation:06}"


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json; IndexFolderError unless it is whole and of this format."""
    path = folder / MANIFEST
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise IndexFolderError(f"{path} is missing, so {folder} is no whole index; {REBUILD}") from error
    except OSError as error:
        raise IndexFolderError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise IndexFolderError(f"{path} is damaged ({error}); {REBUILD}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise IndexFolderError(f"{path} is not the manifest of an XM Lens index; {REBUILD}")
    version = facts.get("format_version")
    if version != FORMAT_VERSION:
        by = "an earlier" if version == 1 else "another"
        raise IndexFolderError(
            f"{path} was written by {by} xm (format version {version}; this one reads {FORMAT_VERSION}); {REBUILD}"
        )
    if facts.pop("sha256", None) != _digest_of(facts):
        raise IndexFolderError(f"{path} is not what was written (its digest differs); {REBUILD}")
    try:
        return _manifest_from(facts)
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFolderError(f"{path} lacks what this xm needs ({error!r}); {REBUILD}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit: put this manifest in the place of the former one, in one step.

    Raises:
        OSError: it cannot be written; what was committed before still is, unless only the last flush failed.
    """
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": manifest.kind,
        "model": manifest.model,
        "revision": manifest.revision,
        "dim": manifest.dim,
        "dtype": manifest.dtype,
        "n_bits": manifest.n_bits,
        "n_passages": manifest.n_passages,
        "n_tokens": manifest.n_tokens,
        "corpus": {"name": manifest.name, "notes": list(manifest.notes)},
        "generation": manifest.generation,
        "deleted": list(manifest.deleted),
        "files": {name: record.to_dict() for name, record in manifest.files.items()},
    }
    text = json.dumps({**facts, "sha256": _digest_of(facts)}, indent=1)
    replace_file(folder / MANIFEST, text.encode() + b"\n")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one to change an index while the body runs.

    Raises:
        IndexFolderError: another process is at it, or the folder cannot be written to.
    """
    try:
        with locked(folder / LOCK) as mine:
            if not mine:
                raise IndexFolderError(f"another process is changing the index at {folder}; try again when it is done")
            yield
    except OSError as error:
        raise IndexFolderError(f"the index cannot be written to {folder}: {error.strerror or error}") from error


def generations(folder: Path) -> list[int]:
    """Return the numbers of the generations that lie in a folder, committed or not."""
    found = (_GENERATION.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def sweep(folder: Path, *, keep: int) -> None:
    """Remove generations beside the committed one, and the files of version 1; what is in use on Windows stays."""
    for number in generations(folder):
        if number != keep:
            shutil.rmtree(folder / f"generation-{number:06}", ignore_errors=True)
    if (folder / _FORMER_SIGN).is_file():
        for name in _FORMER_FILES:
            (folder / name).unlink(missing_ok=True)


def strangers(folder: Path) -> list[str]:
    """Return the names in a folder that are no part of an index, sorted."""
    names = {entry.name for entry in folder.iterdir()}
    # A folder of passages.jsonl alone is somebody's corpus; only an index of version 1 has vectors beside it.
    own = {MANIFEST, f"{MANIFEST}.new", LOCK} if looks_like_index(folder) else {LOCK}
    own |= set(_FORMER_FILES) if _FORMER_SIGN in names else set()
    return sorted(name for name in names - own if not _GENERATION.fullmatch(name))


def looks_like_index(folder: Path) -> bool:
    """Say whether a folder holds an index, of this version or an earlier one, whole or damaged."""
    if not folder.is_dir():
        return False
    return bool(generations(folder)) or (folder / _FORMER_SIGN).is_file()


def _manifest_from(facts: Mapping[str, Any]) -> Manifest:
    """The manifest of parsed JSON; KeyError, TypeError or ValueError if something is missing or of another type."""
    if facts["kind"] not in ("flat", "centroid"):
        raise ValueError(f"kind {facts['kind']!r}")
    return Manifest(
        kind=facts["kind"],
        generation=int(facts["generation"]),
        model=str(facts["model"]),
        revision=str(facts["revision"]),
        dim=int(facts["dim"]),
        dtype=str(facts["dtype"]),
        n_bits=int(facts["n_bits"]),
        n_passages=int(facts["n_passages"]),
        n_tokens=int(facts["n_tokens"]),
        name=str(facts["corpus"]["name"]),
        notes=tuple(map(str, facts["corpus"]["notes"])),
        deleted=tuple(map(int, facts["deleted"])),
        files={str(name): record_from(facts["files"][name]) for name in facts["files"]},
    )


def _digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest's facts, whatever their order and layout."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
