"""Training data: plain text, parallel sentences, question-passage pairs, from plain or xz-compressed files.

Leaves out: corpora for searching (xm.corpus) and evaluation files (xm.evaluation).
"""

import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xm.errors import TrainingError
from xm.languages import find_code


@dataclass(frozen=True)
class ParallelPair:
    """A sentence in some language (XMOD code) and its English translation."""

    code: str
    text: str
    english: str


@dataclass(frozen=True)
class QuestionPair:
    """An English question and the passage that answers it."""

    question: str
    passage: str
    source: str


def read_lines(path: Path) -> Iterator[str]:
    """Yield the non-empty lines of a UTF-8 text file, decompressing `.xz` on the way."""
    if not path.is_file():
        raise TrainingError(f"no such file: {path}; give a .txt, .tsv or .jsonl file, plain or .xz")
    opened = lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")
    with opened as lines:
        for line in lines:
            if line.strip():
                yield line.rstrip("\n")


def language_files(folder: Path, codes: Sequence[str]) -> dict[str, Path]:
    """Find `LANG.txt` or `LANG.txt.xz` for each XMOD code (LANG is its ISO 639-1 code); all must be there."""
    found: dict[str, Path] = {}
    for code in codes:
        iso = code.split("_")[0]
        paths = [folder / f"{iso}.txt", folder / f"{iso}.txt.xz"]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise TrainingError(f"no text for {code}: expected {paths[0].name} or {paths[1].name} in {folder}")
        found[code] = path
    return found


def read_parallel(path: Path, codes: Sequence[str]) -> list[ParallelPair]:
    """Read a TSV whose first line names a language a column, one of them `en`.

    Cells may hold variants separated by `|`; the variants of a row are paired in order, the shorter side repeating
    its first. Columns of languages that are not asked for are passed over.
    """
    lines = read_lines(path)
    header = next(lines).split("\t")
    if "en" not in header:
        raise TrainingError(f"{path.name}: the first line must name the languages, `en` among them; it is {header}")
    columns = {i: code for i, name in enumerate(header) if name != "en" and (code := find_code(name)) in codes}
    english_column = header.index("en")
    pairs: list[ParallelPair] = []
    for line in lines:
        cells = line.split("\t")
        if len(cells) != len(header):
            continue
        english = [variant.strip() for variant in cells[english_column].split("|")]
        for column, code in columns.items():
            for i, text in enumerate(cells[column].split("|")):
                if text.strip() and english[0]:
                    pairs.append(ParallelPair(code, text.strip(), english[i] if i < len(english) else english[0]))
    return pairs


def read_questions(path: Path, sources: Sequence[str] | None = None) -> list[QuestionPair]:
    """Read JSON Lines with `question`, `context`, `source` and optionally `title`; `sources` selects, None takes all.

    Rows of `medquad` and `fairytaleqa` depend on their title, which is put before the passage.
    """
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        row = json.loads(line)
        if "question" not in row or "context" not in row:
            raise TrainingError(f"{path.name}, row {number}: needs `question` and `context`; has {sorted(row)}")
        source = row.get("source", "")
        if sources is None or source in sources:
            title = f"{row['title']}. " if source in ("medquad", "fairytaleqa") and row.get("title") else ""
            pairs.append(QuestionPair(row["question"], title + row["context"], source))
    if not pairs:
        raise TrainingError(f"{path.name}: no question of the sources {sources}")
    return pairs
