"""Inverse-cloze pairs: a sentence asks for the paragraph that it was taken from (Lee, Chang & Toutanova 2019).

They need plain text only, so every language learns to retrieve, not English alone. Leaves out: the model and its loss.
"""

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xm.errors import TrainingError
from xm.train.data import read_lines

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？।۔؟])\s*")
_SHORTEST, _LONGEST = 150, 900  # characters of a paragraph: room for a query and a passage of about 100 tokens
_QUERY_CHARS = (12, 220)
_QUERY_WORDS = (5, 12)  # about as long as a question
KEPT = 0.2  # share of pairs whose passage keeps the query's sentence, or exact matches would be unlearned
_LONG = 300  # characters of a paragraph that makes a passage as long as those of question sets
_AROUND = (3, 8)  # sentences of the passage: from so many before the query's, so many in all
_NEIGHBOURS = 3  # paragraphs taken in a row: often of one article, they are each other's hard negatives


@dataclass(frozen=True)
class ClozePair:
    """A query and the passage it was taken from, both of one language."""

    query: str
    passage: str


def read_paragraphs(path: Path, *, n_lines: int = 30_000) -> list[str]:
    """Read the first lines of a text file that are long enough for a pair, cut to 900 characters."""
    lines: list[str] = []
    for line in read_lines(path):
        if len(line) > _SHORTEST:
            lines.append(line[:_LONGEST])
        if len(lines) == n_lines:
            break
    if len(lines) <= _NEIGHBOURS:
        raise TrainingError(
            f"{path.name} has {len(lines)} paragraphs of more than {_SHORTEST} characters; inverse cloze needs at "
            f"least {_NEIGHBOURS + 1}, a paragraph a line"
        )
    return lines


def longer(paragraphs: Sequence[str]) -> Sequence[str]:
    """Return the paragraphs of more than 300 characters, in order; all of them where too few are."""
    long = [paragraph for paragraph in paragraphs if len(paragraph) > _LONG]
    return long if len(long) > _NEIGHBOURS else paragraphs


def cloze_pair(paragraph: str, generator: random.Random, *, kept: float = KEPT) -> ClozePair | None:
    """Take one sentence out of a paragraph, though not out of a share `kept`; None where it has fewer than two."""
    sentences = _sentences(paragraph)
    if len(sentences) < 2:
        return None
    place = generator.randrange(len(sentences))
    if not _QUERY_CHARS[0] <= len(sentences[place]) <= _QUERY_CHARS[1]:
        place = min(range(len(sentences)), key=lambda index: abs(len(sentences[index]) - 80))
    words = sentences[place].split()
    query = sentences[place]
    if len(words) > _QUERY_WORDS[1] + 2:
        start = generator.randrange(len(words) - _QUERY_WORDS[1] + 2)
        query = " ".join(words[start : start + generator.randint(*_QUERY_WORDS)])
    rest = sentences if generator.random() < kept else sentences[:place] + sentences[place + 1 :]
    start = max(0, place - _AROUND[0])
    passage = " ".join(rest[start : start + _AROUND[1]])
    return ClozePair(query, passage) if passage else None


def shorten(pair: ClozePair, generator: random.Random) -> ClozePair:
    """Leave a stretch of the passage, from one sentence to all of them: each length is as likely."""
    sentences = _sentences(pair.passage)
    length = generator.randint(1, len(sentences))
    start = generator.randint(0, len(sentences) - length)
    return replace(pair, passage=" ".join(sentences[start : start + length]))


def cloze_batch(paragraphs: Sequence[str], generator: random.Random, *, size: int) -> list[ClozePair]:
    """Draw pairs of neighbouring paragraphs until the batch is full."""

    def neighbours() -> Iterable[ClozePair | None]:
        start = generator.randrange(len(paragraphs) - _NEIGHBOURS)
        return [cloze_pair(line, generator) for line in paragraphs[start : start + _NEIGHBOURS]]

    return fill_batch(neighbours, size=size)


def fill_batch(draw: Callable[[], Iterable[ClozePair | None]], *, size: int) -> list[ClozePair]:
    """Draw a few pairs at a time until the batch is full."""
    pairs: list[ClozePair] = []
    for _ in range(20 * size):
        pairs += [pair for pair in draw() if pair]
        if len(pairs) >= size:
            return pairs[:size]
    raise TrainingError(f"{20 * size} draws gave {len(pairs)} inverse-cloze pairs of {size}; give text with sentences")


def _sentences(paragraph: str) -> list[str]:
    """Cut at sentence ends; text without any (Thai) into runs of ten words, or of forty characters."""
    sentences = [sentence for sentence in _SENTENCE_END.split(paragraph) if sentence.strip()]
    if len(sentences) > 1:
        return sentences
    words = paragraph.split()
    if len(words) > 15:
        return [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]
    return [paragraph[start : start + 40] for start in range(0, len(paragraph), 40)]
