"""Training data: plain text, parallel sentences, question-passage pairs, from plain or xz-compressed files.

Leaves out: TSV triples and hub sets (xm.train.triples), corpora for searching (xm.corpus), evaluation files.
"""

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
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
    """An English question, the passage that answers it, and passages that do not, where the data names some."""

    question: str
    passage: str
    source: str = ""
    title: str = ""
    negatives: tuple[str, ...] = ()


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
    """Read JSON Lines, rows as of `pair_of`; `sources` selects by that key, None takes all.

    Raises:
        TrainingError: the file is missing, a row is bad (its number is named), or none is left.
    """
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        where = f"{path.name}, row {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TrainingError(f"{where}: not JSON ({error.msg}, column {error.colno})") from error
        if not isinstance(row, dict):
            raise TrainingError(f"{where}: a {type(row).__name__}; expected an object with question and context")
        if sources is None or row.get("source", "") in sources:
            pairs.append(pair_of(row, where))
    if not pairs:
        raise TrainingError(f"{path.name}: no question of the sources {sources}")
    return pairs


_QUESTION = ("question", "query", "anchor")
_PASSAGE = ("context", "passage", "positive")
# Rows of these sources depend on their title, which is put before the passage (data README).
_TITLED = ("medquad", "fairytaleqa")


def pair_of(row: Mapping[str, object], where: str) -> QuestionPair:
    """Make a pair of a row with `question` (or query, anchor) and `context` (or passage, positive).

    Optional are source, title, and negatives (a list) or negative, negative_1, ... (texts).

    Args:
        where: what an error calls the row.
    """
    question, passage = (next((row[name] for name in names if name in row), None) for names in (_QUESTION, _PASSAGE))
    if not (isinstance(question, str) and isinstance(passage, str) and question.strip() and passage.strip()):
        raise TrainingError(f"{where}: needs `question` and `context`, two texts; has {sorted(row)}")
    negatives: list[object] = []
    for name, value in row.items():
        if name.startswith("negative") and value is not None:
            negatives += value if isinstance(value, list) else [value]
    if not all(isinstance(negative, str) and negative.strip() for negative in negatives):
        raise TrainingError(f"{where}: negatives must be texts; got {str(negatives)[:100]}")
    source, title = str(row.get("source") or ""), str(row.get("title") or "")
    if source in _TITLED and title and not passage.startswith(f"{title}. "):
        passage = f"{title}. {passage}"
    return QuestionPair(question, passage, source, title, tuple(map(str, negatives)))
