"""Append-only files of an index: what is committed of them never changes, what lies beyond it does not count.

Arrays are .npy files. Their header names the rows they were made with; rows appended later are known to the manifest
alone, so that no committed byte is ever written again and readers need no lock.
Leaves out: which files an index has (xm.index.parts), and when they are committed (xm.index.manifest).
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xm.errors import IndexFolderError

REBUILD = "build the index again with `xm index`"
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class FileRecord:
    """What is committed of a file. n_rows: rows of an array or lines; n_first: how many it was made with.

    ranges: where each committed part ends, in bytes, and the SHA-256 of that part.
    """

    n_rows: int
    n_first: int
    ranges: tuple[tuple[int, str], ...]

    @property
    def n_bytes(self) -> int:
        """Committed bytes."""
        return self.ranges[-1][0]

    def to_dict(self) -> dict[str, Any]:
        """Return what the manifest says of the file."""
        parts = [{"end": end, "sha256": digest} for end, digest in self.ranges]
        return {"rows": self.n_rows, "first_rows": self.n_first, "parts": parts}


def record_from(facts: Any) -> FileRecord:
    """Read what `to_dict` gave; KeyError, TypeError or ValueError if it is something else."""
    ranges = tuple((int(part["end"]), str(part["sha256"])) for part in facts["parts"])
    if not ranges or sorted(end for end, _ in ranges) != [end for end, _ in ranges]:
        raise ValueError("parts of a file do not follow each other")
    return FileRecord(int(facts["rows"]), int(facts["first_rows"]), ranges)


def create_array(path: Path, array: np.ndarray) -> FileRecord:
    """Write a new .npy file and flush it to the disk."""
    header = io.BytesIO()
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    ends = _write(path, 0, [header.getvalue(), _bytes_of(array)])
    return FileRecord(len(array), len(array), (ends,))


def append_array(path: Path, record: FileRecord, array: np.ndarray) -> FileRecord:
    """Write rows after the committed ones and flush them; they count once the record is committed."""
    ends = _write(path, record.n_bytes, [_bytes_of(np.ascontiguousarray(array))])
    return FileRecord(record.n_rows + len(array), record.n_first, (*record.ranges, ends))


def create_lines(path: Path, lines: Sequence[bytes]) -> FileRecord:
    """Write a new file of lines and flush it to the disk."""
    return FileRecord(len(lines), len(lines), (_write(path, 0, lines),))


def append_lines(path: Path, record: FileRecord, lines: Sequence[bytes]) -> FileRecord:
    """Write lines after the committed ones and flush them; they count once the record is committed."""
    ends = _write(path, record.n_bytes, lines)
    return FileRecord(record.n_rows + len(lines), record.n_first, (*record.ranges, ends))


def check_file(path: Path, record: FileRecord, *, verify: bool) -> None:
    """Raise an IndexFolderError if a file is missing or too short, or (`verify`) is not what was written."""
    if not path.is_file():
        raise IndexFolderError(f"{path} is missing; {REBUILD}")
    n_bytes = path.stat().st_size
    if n_bytes < record.n_bytes:
        raise IndexFolderError(f"{path} has {n_bytes:,} bytes where {record.n_bytes:,} were written; {REBUILD}")
    if not verify:
        return
    begin = 0
    with path.open("rb") as file:
        for end, digest in record.ranges:
            if _digest_of(file, end - begin) != digest:
                raise IndexFolderError(
                    f"{path} is not what was written (its digest differs in bytes {begin:,} to {end:,}); {REBUILD}"
                )
            begin = end


def map_array(path: Path, record: FileRecord, *, dtype: np.dtype, columns: tuple[int, ...]) -> np.ndarray:
    """Map the committed rows of an array: (n_rows, *columns), read only.

    Raises:
        IndexFolderError: the file is no .npy file of this type and these columns, or the manifest counts other rows.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, by_columns, kept_dtype = np.lib.format.read_array_header_1_0(file)
            n_header = file.tell()
    except (ValueError, EOFError) as error:
        raise IndexFolderError(f"{path} cannot be read as an array ({error}); {REBUILD}") from error
    expected = (record.n_first, *columns)
    if shape != expected or kept_dtype != dtype or by_columns:
        raise IndexFolderError(f"{path} is {kept_dtype} of shape {shape}, expected {dtype} of {expected}; {REBUILD}")
    n_row = dtype.itemsize * int(np.prod(columns, dtype=np.int64))
    if record.n_rows < 1 or n_header + record.n_rows * n_row != record.n_bytes:
        raise IndexFolderError(f"{path} has no {record.n_rows:,} rows in {record.n_bytes:,} bytes; {REBUILD}")
    mapped = np.memmap(path, dtype=dtype, mode="r", offset=n_header, shape=(record.n_rows, *columns))
    # Memory-mapped rows are handed out as they are; the subclass would only slow small reads.
    return mapped.view(np.ndarray)


def map_bytes(path: Path, record: FileRecord) -> np.ndarray:
    """Map the committed bytes of a file of lines: (n_bytes,) uint8, read only."""
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(record.n_bytes,)).view(np.ndarray)


def read_json_lines(path: Path, record: FileRecord) -> list[Any]:
    """Read the committed lines of a small file, each a JSON value; IndexFolderError if they are none."""
    with path.open("rb") as file:
        data = file.read(record.n_bytes)
    try:
        # One list is parsed several times faster than its lines one by one; JSON escapes every \n of a value.
        values = json.loads("[" + data.decode("utf-8", "surrogatepass").rstrip("\n").replace("\n", ",") + "]")
    except (ValueError, RecursionError) as error:
        raise IndexFolderError(f"{path} does not hold the lines of an index ({error}); {REBUILD}") from error
    if len(values) != record.n_rows:
        raise IndexFolderError(f"{path} has {len(values):,} lines, expected {record.n_rows:,}; {REBUILD}")
    return values


def json_line(value: Any) -> bytes:
    """One line of JSON; texts from JSON files may hold lone surrogates, which must survive."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of an array that lies in one piece, without copying them."""
    return array.reshape(-1).view(np.uint8).data


def _write(path: Path, begin: int, chunks: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Write chunks from byte `begin` on, dropping what a killed process left there; give their end and digest."""
    state = hashlib.sha256()
    with path.open("r+b" if begin else "wb") as file:
        file.truncate(begin)
        file.seek(begin)
        for chunk in chunks:
            state.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        return file.tell(), state.hexdigest()


def _digest_of(file: io.BufferedReader, n_bytes: int) -> str:
    """SHA-256 of the next bytes of a file."""
    state = hashlib.sha256()
    while n_bytes > 0 and (chunk := file.read(min(_CHUNK_BYTES, n_bytes))):
        state.update(chunk)
        n_bytes -= len(chunk)
    return state.hexdigest()
