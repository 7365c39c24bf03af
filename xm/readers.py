"""Files of text into rows: what is in a file, cut where its format says, before anything is judged.

Leaves out: encodings (xm.decoding), languages, long passages and missing ids (xm.corpus), and formats that need a
parser of their own (PDF, Word).
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xm.decoding import decode
from xm.errors import CorpusError
from xm.options import CorpusLimits

# A field of a csv file may be as long as the file may be; Python's own limit is 131,072 characters.
csv.field_size_limit(2**31 - 1)

_ENDINGS = ".txt, .md, .csv, .tsv or .jsonl"
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)\s*$")
_HEADING_OR_RULE = re.compile(r" {0,3}(#{1,6}(\s|$)|([-*_] *){3,}$)")


@dataclass(frozen=True)
class Row:
    """One text of a file, before splitting.

    number: the line it starts on (txt, md, jsonl) or its record, the header counting as 1 (csv, tsv). file: its name
    where several are read as one corpus.
    """

    number: int
    text: str
    passage_id: str | None = None
    language: str | None = None
    file: str = ""

    @property
    def where(self) -> str:
        """The row as a person finds it."""
        return f"{self.file} row {self.number}" if self.file else f"row {self.number}"


def read_rows(path: Path, *, limits: CorpusLimits, fit: Callable[[str], float]) -> tuple[list[Row], list[str]]:
    """Read one file.

    Args:
        path: a file with a name in `.txt`, `.md`, `.csv`, `.tsv` or `.jsonl`.
        limits: the size that is accepted.
        fit: how much a text looks like a language, higher is better; picks the encoding of a file not in Unicode.

    Returns:
        The rows, empty ones included, and notes on what was assumed.

    Raises:
        CorpusError: the file is missing, too large, empty, binary, of another format, or breaks its format's rules.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CorpusError(f"{path.name}: cannot read {path.suffix or 'a file without an ending'}; give {_ENDINGS}")
    try:
        n_bytes = path.stat().st_size
        if n_bytes > limits.max_bytes:
            raise CorpusError(
                f"{path.name} has {n_bytes / 1e6:.1f} MB; at most {limits.max_bytes / 1e6:.1f} MB are read here; "
                "give a part of it"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a zero character
        raise CorpusError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}; check the path") from error
    text, notes = decode(data, name=path.name, fit=fit)
    if not text.strip():
        raise CorpusError(f"{path.name} is empty ({len(data)} bytes, no text); give a file with at least one passage")
    rows, more_notes = reader(text, path.name)
    return rows, notes + more_notes


def _lines(text: str) -> list[str]:
    """Split at line ends of all three systems and nowhere else (`str.splitlines` also cuts at rare characters)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _read_txt(text: str, name: str) -> tuple[list[Row], list[str]]:
    """Read a passage a paragraph: what stands between blank lines."""
    rows, paragraph = [], []
    for number, line in enumerate([*_lines(text), ""], 1):
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            rows.append(Row(number - len(paragraph), "\n".join(paragraph)))
            paragraph = []
    n_lines = rows[0].text.count("\n") + 1
    if len(rows) == 1 and n_lines > 1:
        return rows, [f"{name} has no blank line, so its {n_lines} lines are one paragraph"]
    return rows, []


def _read_md(text: str, name: str) -> tuple[list[Row], list[str]]:
    """Read a passage a paragraph, with the headings above it; code fences stay whole and nothing is stripped."""
    rows: list[Row] = []
    paragraph: list[str] = []
    n_body = 0  # lines of the paragraph that are no headings: while there is none, a blank line does not end it
    fence = ""
    lines = _lines(text)
    for number, line in enumerate(lines, 1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        if line.strip():
            paragraph.append(line)
            if _UNDERLINE.match(line) and not fence:
                n_body = max(0, n_body - 1)  # it makes a heading of the line above
            elif fence or not _HEADING_OR_RULE.match(line):
                n_body += 1
        elif paragraph and (fence or not n_body):
            paragraph.append(line)
        elif paragraph:
            rows.append(Row(number - len(paragraph), "\n".join(paragraph)))
            paragraph, n_body = [], 0
    if paragraph:
        rows.append(Row(len(lines) + 1 - len(paragraph), "\n".join(paragraph).rstrip("\n")))
    return rows, []


def _read_csv(text: str, name: str) -> tuple[list[Row], list[str]]:
    """Read comma-separated records; semicolons and tabs pass with a note where they name the column `text`."""
    header = _lines(text)[0]
    for delimiter, word in ((";", "semicolons"), ("\t", "tabs")):
        if "text" in _columns(header.split(delimiter)) and "text" not in _columns(header.split(",")):
            rows, notes = _read_records(text, name, delimiter=delimiter)
            return rows, [*notes, f"{name} is separated by {word}, not commas"]
    return _read_records(text, name, delimiter=",")


def _read_tsv(text: str, name: str) -> tuple[list[Row], list[str]]:
    """Read tab-separated records; where quotes do not pair up they are plain characters, with a note."""
    try:
        return _read_records(text, name, delimiter="\t")
    except _QuoteError:
        rows, notes = _read_records(text, name, delimiter="\t", quoting=csv.QUOTE_NONE)
        return rows, [*notes, f"{name}: its quotes do not pair up, so they are read as plain characters"]


class _QuoteError(CorpusError):
    """Quotes in a csv or tsv file do not pair up."""


def _columns(fields: Sequence[str]) -> list[str]:
    """Bring the names of a header row into one form."""
    return [field.strip().strip('"').strip().casefold() for field in fields]


def _read_records(
    text: str, name: str, *, delimiter: str, quoting: int = csv.QUOTE_MINIMAL
) -> tuple[list[Row], list[str]]:
    """Read a header with the column `text` (optionally `id` and `language`, in any order) and what is under it."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        records = list(reader)
    except csv.Error as error:
        raise _QuoteError(
            f"{name}: line {reader.line_num}: {error}; put a text with quotes or line ends in quotes and double "
            "the quotes inside it"
        ) from error
    while len(records) > 1 and not any(field.strip() for field in records[-1]):
        records.pop()
    columns = _columns(records[0])
    if "text" not in columns:
        found = ", ".join(repr(field[:40]) for field in records[0][:20]) or "an empty row"
        raise CorpusError(f"{name}: no column 'text' in the first row; found {found}; call the passages' column 'text'")
    rows = []
    for number, record in enumerate(records[1:], 2):
        fields = dict(zip(columns, record, strict=False))
        rows.append(Row(number, fields.get("text", ""), fields.get("id") or None, fields.get("language") or None))
    too_long = [number for number, record in enumerate(records[1:], 2) if len(record) > len(columns)]
    if not too_long:
        return rows, []
    return rows, [
        f"{name}: more fields than the header names in rows {listed(too_long)}; the rest was left out: "
        "is a text with separators not in quotes?"
    ]


def _read_jsonl(text: str, name: str) -> tuple[list[Row], list[str]]:
    """Read a JSON object a line: `text`, optionally `id` and `language`; other keys are ignored."""
    return [_read_object(line, number, name) for number, line in enumerate(text.rstrip().split("\n"), 1)], []


def _read_object(line: str, number: int, name: str) -> Row:
    """Read one line of a jsonl file."""
    if not line.strip():
        return Row(number, "")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{name}: row {number} is not JSON ({error}); give one object a line") from error
    if not isinstance(record, dict) or "text" not in record:
        found = ", ".join(map(repr, list(record)[:20])) if isinstance(record, dict) else type(record).__name__
        raise CorpusError(f"{name}: row {number} has no key 'text'; found {found}; call the passage's key 'text'")
    fields = {key: record.get(key) for key in ("text", "id", "language")}
    if isinstance(fields["id"], int) and not isinstance(fields["id"], bool):
        fields["id"] = str(fields["id"])
    for key, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise CorpusError(f"{name}: row {number}: {key!r} must be a string, came {type(value).__name__}")
    return Row(number, fields["text"] or "", fields["id"] or None, fields["language"] or None)


def listed(items: Sequence[object], *, at_most: int = 12) -> str:
    """Write a list for a note, cut with the number of what is left out."""
    rest = f" and {len(items) - at_most} more" if len(items) > at_most else ""
    return ", ".join(map(str, items[:at_most])) + rest


READERS = {".txt": _read_txt, ".md": _read_md, ".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl}
