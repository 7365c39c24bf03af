"""How often a query word finds its translation: `python -m benchmarks.xm_mini.translations [MODEL]`.

English queries of the parallel sample meet the passage on their topic in every other language. A word counts where the
word list (lexicon.tsv) translates it and the passage holds a translation, letter for letter; it is found if the passage
token that its best token chose lies in one. By chance: if the winner were drawn from the passage's content tokens.
The passages were not trained on; the words of the list were, alone, so this says how much of what was learnt holds in a
sentence. Prints a Markdown table, or with --json one object, which names every word that missed too.
"""

import argparse
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from xm import maxsim
from xm.encoder import load_encoder
from xm.languages import LANGUAGES, find_code
from xm.types import Alignment, LanguageGuess, Word

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_corpora" / "parallel"
LEXICON = Path(__file__).parent / "lexicon.tsv"
UNSPACED = ("zh_CN", "ja_XX", "th_TH")


class Trial(NamedTuple):
    """A query word whose translation is in the passage; chance: the share of content tokens that lie in one."""

    passage_id: str
    word: str
    found: str
    hit: bool
    chance: float


def main() -> None:
    """Measure a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="xm-mini")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    encoder = load_encoder(args.model)
    queries = [row for row in read_rows("queries.jsonl") if row["language"] == "en_XX"]
    passages = [row for row in read_rows("passages.jsonl") if row["language"] != "en_XX"]
    asked = [(row["topic"], encoder.encode_query(row["text"], _given("en_XX"))) for row in queries]
    by_language: dict[str, list[Trial]] = {}
    for passage in passages:
        words = read_lexicon("en_XX", passage["language"])
        encoded = encoder.encode_passages([passage["text"]], [_given(passage["language"])])[0]
        for topic, query in asked:
            if topic == passage["topic"]:
                aligned = maxsim.align(query, encoded, passage_id=passage["id"])
                by_language.setdefault(passage["language"], []).extend(trials(aligned, words))
    lines = {code: summary(found) for code, found in by_language.items()}
    lines["all"] = {name: fmean(line[name] for line in lines.values()) for name in ("found", "chance")} | {
        "words": sum(line["words"] for line in lines.values())
    }
    if args.json:
        missed = [trial._asdict() for found in by_language.values() for trial in found if not trial.hit]
        facts = {"model": encoder.model, "revision": encoder.revision, "precision": encoder.precision}
        print(json.dumps({**facts, "languages": lines, "missed": missed}, ensure_ascii=False))
        return
    print("| passage in | words | found | by chance |\n|---|---|---|---|")
    for code, line in lines.items():
        name = LANGUAGES[code].name if code in LANGUAGES else "mean"
        print(f"| {name} | {line['words']} | {line['found']:.3f} | {line['chance']:.3f} |")


def trials(aligned: Alignment, words: Mapping[str, Sequence[str]]) -> Iterator[Trial]:
    """Try every query word that has a translation in the passage."""
    text = aligned.passage.text
    spaced = aligned.passage.language.code not in UNSPACED
    content = np.array([kind == "content" for kind in aligned.passage.kinds])
    for word in aligned.query_words:
        spans = [span for variant in words.get(word.text.lower(), ()) for span in places_of(variant, text, spaced)]
        if not spans:
            continue
        inside = np.array([any(a < end and b > start for start, end in spans) for a, b in aligned.passage.offsets])
        token = winner(aligned, word)
        start, end = aligned.passage.offsets[token]
        chance = float(inside[content].mean())
        yield Trial(aligned.passage_id, word.text, text[max(start, 0) : max(end, 0)], bool(inside[token]), chance)


def winner(aligned: Alignment, word: Word) -> int:
    """Return the passage token that the word's highest-scoring token chose."""
    rows = np.array(word.token_ids)
    return int(aligned.best[rows[aligned.contribution[rows].argmax()]])


def places_of(variant: str, text: str, spaced: bool) -> list[tuple[int, int]]:
    """Find a translation in a text, as a whole word where its script has spaces."""
    pattern = re.escape(variant)
    found = re.finditer(rf"(?<!\w){pattern}(?!\w)" if spaced else pattern, text, re.IGNORECASE)
    return [match.span() for match in found]


def summary(found: Sequence[Trial]) -> dict[str, float]:
    """Count the words of one language."""
    return {
        "words": len(found),
        "found": fmean(trial.hit for trial in found),
        "chance": fmean(trial.chance for trial in found),
    }


def read_lexicon(source: str, target: str) -> dict[str, list[str]]:
    """Read the word list: a word of the language `source` -> its translations in `target` (XMOD codes)."""
    with LEXICON.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    columns = {find_code(name): name for name in rows[0]}
    words: dict[str, list[str]] = {}
    for row in rows:
        ours, theirs = ([v.strip() for v in row[columns[code]].split("|") if v.strip()] for code in (source, target))
        for word in ours:
            words.setdefault(word.lower(), []).extend(theirs)
    return words


def read_rows(name: str) -> list[dict[str, str]]:
    """Read a file of the parallel sample."""
    return [json.loads(line) for line in (SAMPLE / name).read_text(encoding="utf-8").splitlines()]


def _given(code: str) -> LanguageGuess:
    return LanguageGuess(code, 1.0, "given")


if __name__ == "__main__":
    main()
