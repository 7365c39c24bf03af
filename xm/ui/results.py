"""Turn a search result into what the page's list shows: JSON only, every text as it is.

Each hit's text comes cut at its words, each with its credit: the sum of the contributions of the query tokens that
chose a token of that word. The colour is its share of the hit's score, on the alignment figure's own scale.
Leaves out: drawing (`assets/page.js`, by textContent).
"""

from typing import Any

import numpy as np

from xm.languages import LANGUAGES
from xm.search import Searcher
from xm.types import Alignment, LanguageGuess, SearchResult
from xm.ui import words


def results_value(searcher: Searcher, result: SearchResult) -> dict[str, Any]:
    """Describe a result for the page."""
    alignments = [searcher.explain(result.query, hit.passage_id) for hit in result.hits]
    return {
        "query": {"text": result.query.text, "adapter": adapter_chip(result.query.language)},
        "timings": words.timings(result.seconds),
        "hits": [
            {
                "rank": hit.rank,
                "passage_id": hit.passage_id,
                "score": hit.score,
                "exact": hit.exact,
                "adapter": adapter_chip(alignment.passage.language),
                "pieces": tinted(alignment),
            }
            for hit, alignment in zip(result.hits, alignments, strict=True)
        ],
        "words": words.RESULTS,
    }


def tinted(alignment: Alignment) -> list[dict[str, Any]]:
    """Cut a passage's text into words and what lies between, each with its credit; the pieces join to the text."""
    text = alignment.passage.text
    earned = np.bincount(alignment.best, weights=alignment.contribution, minlength=len(alignment.passage.tokens))
    pieces: list[dict[str, Any]] = []
    end = 0
    for word in sorted(alignment.passage_words, key=lambda word: word.span):
        start = max(word.span[0], end)
        if word.span[1] <= start:  # markers have no span; a token inside its neighbour adds nothing to the text
            continue
        if start > end:
            pieces.append({"text": text[end:start], "credit": 0.0})
        credit = float(earned[list(word.token_ids)].sum())
        pieces.append({"text": text[start : word.span[1]], "credit": credit})
        end = word.span[1]
    if end < len(text):
        pieces.append({"text": text[end:], "credit": 0.0})
    return pieces


def adapter_chip(guess: LanguageGuess) -> dict[str, Any]:
    """Say which adapter a text went through, how it was chosen, and how close the runner-up came if it was detected."""
    language = LANGUAGES[guess.code]
    return {
        "code": guess.code,
        "name": language.name,
        "source": words.SOURCES[guess.source],
        "detail": words.margin(guess) if guess.source == "detected" else "",
    }
