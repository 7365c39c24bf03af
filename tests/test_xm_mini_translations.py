"""How benchmarks.xm_mini.translations decides that a word found its translation."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.xm_mini.translations import places_of, read_lexicon, trials
from xm.maxsim import align
from xm.types import Alignment, LanguageGuess, TokenEmbeddings

WORDS = {"moon": ["luna"], "night": ["noche", "anochecer"], "sun": ["sol"]}


def embed(text: str, tokens: Sequence[str], rows: Sequence[int], code: str) -> TokenEmbeddings:
    """Embed tokens as unit vectors along axes of 4, a negative row as nothing."""
    spans, end = [], 0
    for token in tokens:
        start = text.index(token, end)
        end = start + len(token)
        spans.append((start, end))
    vectors = np.array([np.eye(4)[row] if row >= 0 else np.zeros(4) for row in rows], np.float32)
    kinds = tuple("content" for _ in tokens)
    return TokenEmbeddings(text, vectors, tuple(tokens), np.array(spans), kinds, LanguageGuess(code, 1.0, "given"))


def aligned(rows: Sequence[int]) -> Alignment:
    """Align "moon night sun" with a Spanish sentence whose tokens lie along `rows`."""
    query = embed("moon night sun", ["mo", "on", "night", "sun"], [-1, 0, 1, 2], "en_XX")
    return align(query, embed("la luna de noche", ["la", "lu", "na", "de", "noche"], rows, "es_XX"))


def test_a_word_is_found_where_its_best_token_meets_any_piece_of_a_translation() -> None:
    moon, night = trials(aligned([3, 3, 0, 3, 1]), WORDS)  # the sun is not in the passage
    assert (moon.word, moon.found, moon.hit, moon.chance) == ("moon", "na", True, pytest.approx(2 / 5))
    assert (night.word, night.found, night.hit, night.chance) == ("night", "noche", True, pytest.approx(1 / 5))


def test_a_word_that_meets_another_is_missed_and_what_it_met_is_said() -> None:
    moon, night = trials(aligned([0, 3, 3, 1, 3]), WORDS)
    assert (moon.found, moon.hit, night.found, night.hit) == ("la", False, "de", False)


def test_a_translation_is_a_whole_word_but_where_the_script_has_no_spaces() -> None:
    assert places_of("sol", "El Sol, solo", spaced=True) == [(3, 6)]
    assert places_of("月", "満月の夜", spaced=False) == [(1, 2)]


def test_the_word_list_gives_every_translation_of_a_word() -> None:
    assert read_lexicon("en_XX", "zh_CN")["how"][:2] == ["如何", "怎么"]
    assert "how" in read_lexicon("zh_CN", "en_XX")["怎么"]
