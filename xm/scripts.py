"""Which script a text is written in, and what a script alone tells about its language.

Leaves out: languages that share an alphabet (xm.languages compares their profiles).
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from xm.types import LanguageGuess, Source

# The scripts of the 81 languages, by their Unicode names.
SCRIPTS = frozenset(
    "Latin Cyrillic Arabic Greek Hebrew Devanagari Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam "
    "Sinhala Thai Lao Myanmar Khmer Georgian Armenian Ethiopic Han Kana Hangul".split()
)
EAST_ASIAN = "East Asian"  # Han, kana and Hangul together: Japanese mixes two of them, Korean may
_EAST_ASIAN_SCRIPTS = ("Han", "Kana", "Hangul")
_SCRIPT_BY_NAME = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "KATAKANA-HIRAGANA": "Kana"}


@lru_cache(maxsize=65_536)
def script_of(character: str) -> str:
    """Return the script of a letter as the table names it, "" for anything else."""
    if not character.isalpha():
        return ""
    words = unicodedata.name(character, "").replace("HALFWIDTH ", "").replace("FULLWIDTH ", "").split()
    script = _SCRIPT_BY_NAME.get(words[0], words[0].title()) if words else ""
    return script if script in SCRIPTS else ""


def main_script(text: str) -> str:
    """Return the script a text is written in, "" if none.

    Latin wins only with twice the letters of another script: names and terms are quoted in Latin letters everywhere.
    A Han, kana or Hangul character counts double, as it carries about two letters.
    """
    counts = Counter(map(script_of, text))
    del counts[""]
    counts[EAST_ASIAN] = 2 * sum(counts.pop(script, 0) for script in _EAST_ASIAN_SCRIPTS)
    n_latin = counts.pop("Latin", 0)
    script, n_letters = max(counts.items(), key=lambda item: item[1])
    if n_letters and 2 * n_letters >= n_latin:
        return script
    return "Latin" if n_latin else ""


def only_script(text: str, script: str) -> str:
    """Blank the letters of all other scripts; digits, marks and punctuation stay."""
    return "".join(character if script_of(character) in (script, "") else " " for character in text)


def even_guess(codes: Sequence[str], source: Source) -> LanguageGuess:
    """Take the first of several codes between which nothing decides."""
    share = 1.0 / len(codes)
    return LanguageGuess(codes[0], share, source, 0.0 if codes[1:] else 1.0, codes[1] if codes[1:] else None)


@lru_cache(maxsize=65_536)
def _han_charsets(character: str) -> tuple[bool, bool, bool]:
    """Say whether the national character sets of China, Taiwan and Japan have a Han character."""
    china, taiwan, japan = (bool(character.encode(name, "ignore")) for name in ("gb2312", "big5", "shift_jis"))
    return china, taiwan, japan


def detect_east_asian(text: str, prior: tuple[str, ...]) -> LanguageGuess:
    """Tell Korean by Hangul, Japanese by kana, and Han alone by which national character sets have its characters."""
    counts = Counter(map(script_of, text))
    n_letters = sum(counts[script] for script in _EAST_ASIAN_SCRIPTS)
    # Quotations pass: a fifth of Hangul, a twentieth of kana are far below what such texts have.
    if 5 * counts["Hangul"] >= n_letters:
        return LanguageGuess("ko_KR", 1.0, "detected")
    if 20 * counts["Kana"] >= n_letters:
        return LanguageGuess("ja_XX", 1.0, "detected")
    charsets = [_han_charsets(character) for character in text if script_of(character) == "Han"]
    n_simplified = sum(china and not taiwan for china, taiwan, _ in charsets)
    n_traditional = sum(taiwan and not china for china, taiwan, _ in charsets)
    all_japanese = all(japan for _, _, japan in charsets)
    only_japanese = all_japanese and any(not china and not taiwan for china, taiwan, _ in charsets)
    if only_japanese or (all_japanese and n_simplified and n_traditional):
        return LanguageGuess("ja_XX", 1.0, "detected")  # Japan simplified some characters and kept others
    order = ["zh_TW", "zh_CN"] if n_traditional > n_simplified else ["zh_CN", "zh_TW"]
    likely = order[:1] if n_simplified != n_traditional else order
    possible = [*likely, *(["ja_XX"] if all_japanese else [])]
    expected = [code for code in prior if code in possible] or [code for code in prior if code in order]
    if expected and expected[0] != likely[0]:
        return even_guess(expected, "inherited")
    if len(likely) == 2:
        return even_guess(expected, "inherited") if expected else even_guess(possible, "detected")
    # The distinctive characters vote; Japan, which uses both kinds, counts as one vote where it has them all.
    votes = {likely[0]: max(n_simplified, n_traditional), order[1]: min(n_simplified, n_traditional)}
    votes |= {"ja_XX": 1} if all_japanese else {}
    runner_up = max(list(votes)[1:], key=votes.__getitem__)
    n_votes = sum(votes.values())
    probability = votes[likely[0]] / n_votes
    return LanguageGuess(likely[0], probability, "detected", probability - votes[runner_up] / n_votes, runner_up)
