"""Long texts into parts that fit into a model, cut where a sentence ends.

Leaves out: tokens. Words are counted instead, in every script, so that no model is needed to read a corpus.
"""

import math
import re
from collections.abc import Iterator, Sequence

# Two characters of Han or kana, four of Thai, Lao, Burmese or Khmer make about as many tokens as one spaced word.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SOUTHEAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_SPACED_WORD = re.compile(rf"[^\s{_CJK}{_SOUTHEAST_ASIAN}]+")
_WORD = re.compile(rf"[{_CJK}]{{1,2}}[^\w\s]*|[{_SOUTHEAST_ASIAN}]{{1,4}}[^\w\s]*|{_SPACED_WORD.pattern}")
# The look-behind keeps a run of 50,000 dots linear. A small letter after a dot means an abbreviation.
_SENTENCE_END = re.compile(
    r"""(?<![.!?…])[.!?…]++["'”’»)\]]*(?=\s)(?!\s+[a-z])|[。！？｡．]+["”’」』）]*|[؟۔।॥։።។။]+["”’»)\]]*"""
)
_LINE_END = re.compile(r"\n")


def split_text(text: str, *, max_words: int) -> list[str]:
    """Split a long text into parts of about even length, none longer than `max_words`.

    Cuts at sentence ends; inside a sentence longer than `max_words` at line ends, then between words. A word is
    counted by spaces; in Han and kana two characters count as one, in Thai, Lao, Burmese and Khmer four.
    A text that is short enough comes back as it is, parts without the spaces around them.
    """
    n_words = count_words(text)
    if n_words <= max_words:
        return [text]
    target = n_words / math.ceil(n_words / max_words)
    parts, part, n_in_part = [], "", 0
    for piece in _pieces(text, (_SENTENCE_END, _LINE_END, _WORD), max_words):
        n_in_piece = count_words(piece)
        if part.strip() and (n_in_part >= target or n_in_part + n_in_piece > max_words):
            parts.append(part.strip())
            part, n_in_part = "", 0
        part, n_in_part = part + piece, n_in_part + n_in_piece
    return [*parts, part.strip()] if part.strip() else parts


def count_words(text: str) -> int:
    """Count words as `split_text` does."""
    return sum(1 for _ in _WORD.finditer(text))


def longest_run(text: str) -> int:
    """Return the length in characters of the longest word written with spaces around it, 0 if there is none."""
    return max((match.end() - match.start() for match in _SPACED_WORD.finditer(text)), default=0)


def _pieces(text: str, ends: Sequence[re.Pattern[str]], max_words: int) -> Iterator[str]:
    """Cut after each match of the first pattern, and pieces that are still too long at the next one."""
    start = 0
    for stop in [*(match.end() for match in ends[0].finditer(text)), len(text)]:
        piece = text[start:stop]
        if ends[1:] and count_words(piece) > max_words:
            yield from _pieces(piece, ends[1:], max_words)
        elif piece:
            yield piece
        start = stop
