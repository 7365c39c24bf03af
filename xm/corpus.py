"""Files and rows of text into a Corpus: limits, ids, splitting, and a language for every passage.

Nothing is repaired in silence: what was left out, split, assumed or found odd stands in the corpus's notes with its
rows. Leaves out: the formats of files (xm.readers).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xm.errors import CorpusError, LanguageError
from xm.languages import detect, find_code, fit
from xm.options import CorpusLimits, limits_here
from xm.readers import READERS, Row, listed, read_rows
from xm.splitting import longest_run, split_text
from xm.types import Corpus, LanguageGuess, Passage

__all__ = ["Row", "corpus_from_rows", "read_corpus"]

_PASSAGES_FILE = "passages.jsonl"
_NOT_PASSAGES = ("queries.jsonl", "qrels.txt")  # what stands beside passages in a test collection
_SAMPLE_TEXTS, _SAMPLE_CHARS = 200, 20_000  # of the whole corpus, to judge its language
_PASSAGE_CHARS = 1_000  # of one passage, to judge its own
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class _Draft:
    """A passage to be, still without its language."""

    row: Row
    passage_id: str
    text: str
    parent_id: str | None = None


def read_corpus(path: str | Path, *, language: str = "auto", limits: CorpusLimits | None = None) -> Corpus:
    """Read a file, or a folder: its `passages.jsonl` if it has one, else every file of a known ending in it.

    Args:
        path: `.txt` and `.md` (a passage a paragraph), `.csv`, `.tsv` and `.jsonl` (`text`, optional `id`, `language`).
        language: of the rows that name none; `auto` detects it passage by passage.
        limits: what is accepted; None takes those of this machine.

    Returns:
        The corpus, named after the file or folder.

    Raises:
        CorpusError: the text cannot be read or is over a limit.
        LanguageError: a language is unknown, or none can be detected in any passage.
    """
    path = Path(path)
    limits = limits or limits_here()
    if not path.is_dir():
        rows, notes = read_rows(path, limits=limits, fit=fit)
        return corpus_from_rows(path.stem, rows, language=language, limits=limits, notes=notes)
    files, notes = _files_of(path)
    rows = []
    for file in files:
        file_rows, file_notes = read_rows(file, limits=limits, fit=fit)
        rows += [replace(row, file=file.name) for row in file_rows] if len(files) > 1 else file_rows
        notes += file_notes
    return corpus_from_rows(path.resolve().name, rows, language=language, limits=limits, notes=notes)


def _files_of(folder: Path) -> tuple[list[Path], list[str]]:
    """List the files of a folder that are read, with a note on those that are not."""
    if (folder / _PASSAGES_FILE).is_file():
        return [folder / _PASSAGES_FILE], []
    try:
        present = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise CorpusError(f"cannot read {folder}: {error.strerror or error}; check the path") from error
    files = [path for path in present if path.suffix.lower() in READERS and path.name not in _NOT_PASSAGES]
    if not files:
        raise CorpusError(f"{folder} has no file to read; put .txt, .md, .csv, .tsv or .jsonl files in it")
    others = [path.name for path in present if path not in files]
    return files, [f"not read: {listed(others)}"] if others else []


def corpus_from_rows(
    name: str,
    rows: Iterable[Row],
    *,
    language: str = "auto",
    limits: CorpusLimits | None = None,
    notes: Sequence[str] = (),
) -> Corpus:
    """Make a corpus of rows of text, such as a pasted one.

    Args:
        name: shown with the corpus.
        rows: texts with their row numbers, and ids and languages where known.
        language: of the rows that name none; `auto` detects it passage by passage.
        limits: what is accepted; None takes those of this machine.
        notes: what was found before; this function's own come after them.

    Raises:
        CorpusError: there is no text, too much of it, or two rows have one id.
        LanguageError: a language is unknown, or none can be detected in any passage.
    """
    limits = limits or limits_here()
    kept, row_notes = _check_rows(name, rows, limits)
    row_notes += _duplicates(kept)
    drafts = [draft for row in kept for draft in _split_row(row, limits.max_words)]
    if len(drafts) > limits.max_passages:
        raise CorpusError(
            f"{name} has {len(drafts):,} passages; at most {limits.max_passages:,} are taken here; give a part of it"
        )
    _check_ids(name, drafts)
    split = [draft.row for draft in drafts if draft.parent_id and draft.passage_id.endswith("#1")]
    if split:
        row_notes.append(
            f"longer than {limits.max_words} words and split, at sentence ends where it has any: {_places(split)}"
        )
    guesses, language_notes = _choose_languages(drafts, language)
    passages = tuple(
        Passage(draft.passage_id, draft.text, guess, draft.parent_id)
        for draft, guess in zip(drafts, guesses, strict=True)
    )
    return Corpus(name, passages, (*notes, *row_notes, *language_notes))


def _split_row(row: Row, max_words: int) -> list[_Draft]:
    """Turn a row into passages: one, or `id#1`, `id#2` and so on with the row's id as their parent."""
    passage_id = row.passage_id or (f"{row.file}-{row.number}" if row.file else f"row-{row.number}")
    parts = split_text(row.text, max_words=max_words)
    if len(parts) == 1:
        return [_Draft(row, passage_id, row.text)]
    return [_Draft(row, f"{passage_id}#{i}", part, passage_id) for i, part in enumerate(parts, 1)]


def _places(rows: Sequence[Row]) -> str:
    """Name rows in a note: `rows 2, 5` or `a.txt rows 2, 5; b.txt rows 1`."""
    numbers = defaultdict(list)
    for row in dict.fromkeys(rows):
        numbers[row.file].append(row.number)
    return "; ".join(f"{file} rows {listed(of_file)}".strip() for file, of_file in numbers.items())


def _check_rows(name: str, rows: Iterable[Row], limits: CorpusLimits) -> tuple[list[Row], list[str]]:
    """Leave out empty rows and replace what cannot be encoded, with notes; note long words; refuse too much text."""
    kept, found = [], defaultdict(list)
    n_bytes = 0
    for row in rows:
        if not row.text.strip():
            found["empty and left out"].append(row)
            continue
        n_bytes += len(row.text.encode("utf-8", "surrogatepass"))
        if n_bytes > limits.max_bytes:
            raise CorpusError(f"{name}: more than {limits.max_bytes / 1e6:.1f} MB of text; give a part of it")
        if _SURROGATE.search(row.text):
            found["half characters (lone surrogates) replaced by U+FFFD"].append(row)
            row = replace(row, text=_SURROGATE.sub("\ufffd", row.text))
        n_run = longest_run(row.text)
        if n_run > limits.max_run_chars:
            raise CorpusError(
                f"{name}: {row.where} has {n_run:,} characters without a space; at most {limits.max_run_chars:,} are "
                "taken; is it data rather than text?"
            )
        if n_run > limits.max_word_chars:
            found[f"a word of more than {limits.max_word_chars:,} characters, of which models read the start"].append(
                row
            )
        kept.append(row)
    notes = [f"{what}: {_places(places)}" for what, places in found.items()]
    if not kept:
        raise CorpusError(f"{name} has no passage with text; {'; '.join(notes) or 'no rows'}; give at least one")
    return kept, notes


def _duplicates(rows: Sequence[Row]) -> list[str]:
    """Note rows with one text."""
    by_text = defaultdict(list)
    for row in rows:
        by_text[row.text].append(row)
    groups = [f"({_places(same)})" for same in by_text.values() if len(same) > 1]
    return [f"the same text more than once, all kept: {listed(groups)}"] if groups else []


def _check_ids(name: str, drafts: Sequence[_Draft]) -> None:
    """Refuse two passages of one id."""
    by_id: dict[str, Row] = {}
    for draft in drafts:
        first = by_id.setdefault(draft.passage_id, draft.row)
        if first is not draft.row:
            raise CorpusError(
                f"{name}: id {draft.passage_id[:80]!r} is used in {first.where} and {draft.row.where}; "
                "give every passage an id of its own, or none"
            )


def _choose_languages(drafts: Sequence[_Draft], language: str) -> tuple[list[LanguageGuess], list[str]]:
    """Take each passage's language from its row, else as chosen for all, else from its text."""
    chosen = None if language.strip().casefold() == "auto" else find_code(language)
    codes = [_given_code(draft.row) or chosen for draft in drafts]
    detected = _detect_languages([draft.text for draft, code in zip(drafts, codes, strict=True) if code is None], codes)
    guesses = [next(detected) if code is None else LanguageGuess(code, 1.0, "given") for code in codes]
    notes = []
    own = [draft.row for draft in drafts if chosen and _given_code(draft.row) not in (None, chosen)]
    if own:
        notes.append(f"kept in the language they name instead of {chosen}: {_places(own)}")
    unclear: dict[str, list[Row]] = defaultdict(list)
    for draft, guess in zip(drafts, guesses, strict=True):
        if guess.source == "inherited":
            unclear[guess.code].append(draft.row)
    notes += [
        f"language not clear from the text, {code} taken as in the rest of the corpus: {_places(places)}"
        for code, places in unclear.items()
    ]
    return guesses, notes


def _given_code(row: Row) -> str | None:
    """Return the code of the language that a row names, None if it leaves it to detection."""
    if row.language is None or row.language.strip().casefold() in ("", "auto"):
        return None
    try:
        return find_code(row.language)
    except LanguageError as error:
        raise LanguageError(f"{row.where}: {error}") from error


def _detect_languages(texts: Sequence[str], codes: Sequence[str | None]) -> Iterator[LanguageGuess]:
    """Detect the language of all texts together, then of each with that as its prior.

    Where all together show none, the most frequent language of the passages that do (or are given, in `codes`) serves.
    """
    step = max(1, len(texts) // _SAMPLE_TEXTS)
    sample = "\n".join(text[: _SAMPLE_CHARS // _SAMPLE_TEXTS] for text in texts[::step])
    together = _detect(sample, ())
    prior = (together.code,) if together else ()
    guesses = [_detect(text[:_PASSAGE_CHARS], prior) for text in texts]
    seen = Counter(code for code in codes if code) + Counter(guess.code for guess in guesses if guess)
    if texts and not seen:
        raise LanguageError("no passage shows a language (digits or signs only?); choose the language by hand")
    usual = seen.most_common(1)[0][0] if seen else ""
    return iter([guess or LanguageGuess(usual, 1.0, "inherited") for guess in guesses])


def _detect(text: str, prior: tuple[str, ...]) -> LanguageGuess | None:
    """Detect, or return None where the text shows no language."""
    try:
        return detect(text, prior=prior)
    except LanguageError:
        return None
