"""Queries, judgements (qrels) and runs as files: JSON Lines, TSV and TREC's columns.

Every bad line is an error with file and line number; nothing is skipped. Leaves out: measures (xm.evaluation.measures).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xm.errors import LanguageError, XmError
from xm.languages import find_code
from xm.types import Hit

Qrels = dict[str, dict[str, int]]  # query id -> passage id -> relevance (0 or less: not relevant)
Run = dict[str, tuple[Hit, ...]]  # query id -> hits in their order


@dataclass(frozen=True)
class Query:
    """A query with its id; language is an XMOD code, or "auto" to be detected."""

    query_id: str
    text: str
    language: str = "auto"


def read_queries(path: str | Path) -> tuple[Query, ...]:
    """Read queries from JSON Lines (id, text, optional language) or TSV (id, text, optional language; header or none).

    A file whose first line starts with "{" is JSON Lines, any other TSV.

    Raises:
        XmError: the file cannot be read or holds no query, or a line is bad: file and line number are named.
    """
    path = Path(path)
    queries: dict[str, Query] = {}
    as_json: bool | None = None
    for number, line in _lines(path):
        if as_json is None:
            as_json = line.lstrip().startswith("{")
            if not as_json and line.lower().split("\t")[:2] == ["id", "text"]:
                continue
        where = f"{path}, line {number}"
        query = _query_of_json(line, where) if as_json else _query_of_tsv(line, where)
        if query.query_id in queries:
            raise XmError(f"{where}: query id {query.query_id!r} occurs a second time; give each query its own id")
        queries[query.query_id] = query
    if not queries:
        raise XmError(f"{path}: no queries in it; expected JSON Lines with id and text, or id<TAB>text")
    return tuple(queries.values())


def read_qrels(path: str | Path) -> Qrels:
    """Read TREC judgements: query id, an unused column, passage id, relevance (a whole number), between white space.

    Raises:
        XmError: the file cannot be read or is empty, or a line is bad: file and line number are named.
    """
    path = Path(path)
    qrels: Qrels = {}
    for number, line in _lines(path):
        columns = line.split()
        if len(columns) != 4:
            raise XmError(
                f"{path}, line {number}: {len(columns)} columns; expected 4 (query id, 0, passage id, relevance)"
            )
        query_id, _, passage_id, text = columns
        try:
            relevance = int(text)
        except ValueError as error:
            raise XmError(f"{path}, line {number}: relevance {text!r}; expected a whole number") from error
        if qrels.setdefault(query_id, {}).setdefault(passage_id, relevance) != relevance:
            raise XmError(
                f"{path}, line {number}: passage {passage_id!r} is judged {relevance} for query {query_id!r}, but "
                f"{qrels[query_id][passage_id]} further up; keep one of the two"
            )
    if not qrels:
        raise XmError(f"{path}: no judgements in it; expected lines of query id, 0, passage id, relevance")
    return qrels


def write_run(run: Run, path: str | Path, *, tag: str) -> None:
    """Write a run in TREC's six columns: query id, Q0, passage id, rank, score, tag.

    Scores are written in full. trec_eval goes by score alone and breaks ties in its own order, so where scores tie
    it may disagree with the ranks in the file, which are the ones that count here.

    Raises:
        XmError: an id or the tag holds white space, which the format cannot carry.
    """
    check_ids([tag, *run, *{hit.passage_id for hits in run.values() for hit in hits}])
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for query_id, hits in run.items():
            for hit in hits:
                file.write(f"{query_id} Q0 {hit.passage_id} {hit.rank} {hit.score!r} {tag}\n")


def read_run(path: str | Path) -> Run:
    """Read a run in TREC's six columns, ordered by its ranks.

    Raises:
        XmError: the file cannot be read or a line is bad: file and line number are named.
    """
    path = Path(path)
    found: dict[str, list[Hit]] = {}
    for number, line in _lines(path):
        columns = line.split()
        if len(columns) != 6:
            raise XmError(
                f"{path}, line {number}: {len(columns)} columns; expected 6 (query, Q0, passage, rank, score, tag)"
            )
        try:
            hit = Hit(columns[2], float(columns[4]), int(columns[3]), False)
        except ValueError as error:
            raise XmError(
                f"{path}, line {number}: rank {columns[3]!r} and score {columns[4]!r}; expected numbers"
            ) from error
        found.setdefault(columns[0], []).append(hit)
    return {query_id: tuple(sorted(hits, key=lambda hit: hit.rank)) for query_id, hits in found.items()}


def check_ids(ids: Sequence[str]) -> None:
    """Raise XmError where an id cannot stand in a TREC file: it is empty or holds white space."""
    bad = [text for text in ids if len(text.split()) != 1 or text.strip() != text]
    if bad:
        raise XmError(f"{bad[0]!r} cannot stand in a TREC file, whose columns end at white space; rename it without")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of every line that is not blank."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise XmError(f"{path}: cannot be read ({error.strerror}); name an existing file") from error
    # Split at line feeds only: str.splitlines would also cut at U+2028 and its like inside a text.
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise XmError(f"{path}, line {number}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
        if line.strip():
            yield number, line


def _query_of_json(line: str, where: str) -> Query:
    """Read one line of JSON Lines; keys other than id, text and language are left alone."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise XmError(f"{where}: not JSON ({error.msg}, column {error.colno})") from error
    if not isinstance(row, dict):
        raise XmError(f"{where}: a {type(row).__name__}; expected an object with id and text")
    return _query(row, where)


def _query_of_tsv(line: str, where: str) -> Query:
    """Read id<TAB>text, with a language in the third column if there is one."""
    columns = line.split("\t")
    if len(columns) not in (2, 3):
        raise XmError(f"{where}: {len(columns)} columns; expected 2 or 3 (id, text, language) with tabs between")
    return _query(dict(zip(("id", "text", "language"), columns, strict=False)), where)


def _query(row: Mapping[str, object], where: str) -> Query:
    """Check the fields of one query."""
    query_id, text, language = row.get("id"), row.get("text"), row.get("language") or "auto"
    if isinstance(query_id, int) and not isinstance(query_id, bool):
        query_id = str(query_id)
    if not isinstance(query_id, str) or not query_id.strip():
        raise XmError(f"{where}: id is {query_id!r}; expected a string or a whole number")
    if not isinstance(text, str) or not text.strip():
        raise XmError(f"{where}: text is {text!r}; expected a query of at least one character")
    if not isinstance(language, str):
        raise XmError(f"{where}: language is {language!r}; expected a code such as de_DE, or none")
    if language != "auto":
        try:
            language = find_code(language)
        except LanguageError as error:
            raise XmError(f"{where}: {error}") from error
    return Query(query_id.strip(), text, language)
