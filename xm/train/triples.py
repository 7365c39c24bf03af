"""Training questions from wherever they are: JSON Lines, MS MARCO-style TSV of texts or of ids, a named hub set.

Leaves out: choosing negatives for questions that come without (xm.train.negatives).
"""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from xm.errors import TrainingError
from xm.train.data import QuestionPair, pair_of, read_lines, read_questions

HUB = "hub:"


def read_training(
    name: str, *, queries: Path | None = None, collection: Path | None = None, sources: Sequence[str] | None = None
) -> list[QuestionPair]:
    """Read question-passage pairs, with their negatives where there are some.

    Args:
        name: a .jsonl file (see xm.train.data.pair_of), a .tsv file of query, positive and any number of negatives,
            each plain or .xz; or hub:NAME or hub:NAME:CONFIG, a set of the Hugging Face hub with columns as JSON Lines.
        queries, collection: TSV files of id and text; given both, the TSV file holds ids of these.
        sources: of JSON Lines, the sources to take; None: all.

    Raises:
        TrainingError: a file or set cannot be read, or a row is bad: its number is named.
    """
    if (queries is None) != (collection is None):
        raise TrainingError("ids need both files: give --queries and --collection, or neither")
    if name.startswith(HUB):
        return _read_hub(name.removeprefix(HUB))
    path = Path(name)
    if ".jsonl" in path.suffixes:
        return read_questions(path, sources)
    if ".tsv" not in path.suffixes:
        raise TrainingError(f"{path.name}: expected a .jsonl or .tsv file, plain or .xz, or {HUB}NAME")
    if queries is None or collection is None:
        rows = list(table_rows(path))
    else:
        rows = look_up(list(table_rows(path)), queries, collection, path)
    return [QuestionPair(query, positive, negatives=tuple(negatives)) for query, positive, *negatives in rows]


def table_rows(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each line, two or more, none of them empty."""
    for number, line in enumerate(read_lines(path), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < 2 or not all(cells):
            expected = "query, positive and any negatives, with tabs between and none empty"
            raise TrainingError(f"{path.name}, line {number}: {len(cells)} columns; expected {expected}")
        yield cells


def look_up(rows: Sequence[Sequence[str]], queries: Path, collection: Path, path: Path) -> list[list[str]]:
    """Put texts in the place of ids: of a query, then of passages; `path` is the file that an error names.

    A collection of millions is read once, and only what is named is kept.
    """
    query_texts = _texts(queries, {row[0] for row in rows})
    passage_texts = _texts(collection, {passage_id for row in rows for passage_id in row[1:]})
    found = []
    for number, (query_id, *passage_ids) in enumerate(rows, 1):
        missing = [f"query {query_id!r}"] if query_id not in query_texts else []
        missing += [f"passage {passage_id!r}" for passage_id in passage_ids if passage_id not in passage_texts]
        if missing:
            files = f"{queries.name} and {collection.name}"
            raise TrainingError(f"{path.name}, line {number}: {missing[0]} is not in {files}; give the files it is of")
        found.append([query_texts[query_id], *(passage_texts[passage_id] for passage_id in passage_ids)])
    return found


def _texts(path: Path, wanted: set[str]) -> dict[str, str]:
    """Read the texts of the wanted ids from a TSV file of id and text."""
    pairs = (line.partition("\t") for line in read_lines(path))
    return {name.strip(): text.strip() for name, _, text in pairs if name.strip() in wanted and text.strip()}


def _read_hub(name: str) -> list[QuestionPair]:
    """Read the training split of a hub set, if the `datasets` package is there: it is no requirement of ours."""
    try:
        library = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        message = f"{HUB}{name} needs the `datasets` package: pip install datasets, or give a .jsonl or .tsv file"
        raise TrainingError(message) from error
    repository, _, config = name.partition(":")
    try:
        rows = library.load_dataset(repository, config or None, split="train")
    except (OSError, ValueError, ConnectionError) as error:  # its own errors derive from these
        raise TrainingError(f"{HUB}{name} cannot be fetched: {str(error)[:200]}; check name and network") from error
    pairs = [pair_of(row, f"{name}, row {number}") for number, row in enumerate(rows, 1)]
    if not pairs:
        raise TrainingError(f"{HUB}{name} has no rows")
    return pairs
