"""BM25 (Robertson & Zaragoza 2009) over the same passages, as the yardstick that token embeddings have to beat.

Tokenisation, the same for passages and queries and without looking at the language guess:
1. NFKC, lower case; zero-width joiners, Arabic tatweel and Arabic vowel signs are dropped;
2. a word is a run of letters, digits and combining marks (Python's \\w leaves the marks out, which would cut Hindi,
   Bengali or Telugu words at every vowel sign);
3. a run of Han, kana, Thai, Lao, Khmer or Burmese, written without spaces, becomes overlapping character bigrams (a
   single character stays as it is). So does a run of Hangul, as in Lucene's CJKAnalyzer: Korean glues particles to its
   words, and by words BM25 finds 63 % of the passages of dev.tydiqa_goldp.ko in its first 100, by bigrams 96 %.
No stemming, no stop words. Leaves out: saving the index; it is rebuilt in seconds.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import bm25s
import numpy as np

from xm.types import Hit, Passage

K1 = 1.5  # term frequency saturation; bm25s's default, as is B
B = 0.75  # length normalisation

# Code points of the scripts that are cut into bigrams, iteration and prolonged-sound marks included.
_BIGRAMS = (
    "\u3005-\u3007\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Burmese, Khmer
    "\uac00-\ud7a3"  # Hangul syllables
)
_DROPPED = re.compile("[\u200d\u0640\u064b-\u065f\u0670]")


class LexicalIndex:
    """BM25 over passages, immutable. Scores are float32, 0 or more, without an upper bound."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        """Tokenise and count the passages."""
        passages = tuple(passages)
        self.passage_ids = tuple(passage.passage_id for passage in passages)
        texts = [tokenize(passage.text) for passage in passages]
        # bm25s cannot index a vocabulary of nothing (no passages, or nothing but punctuation and emoji).
        self._bm25 = _index(texts) if any(texts) else None

    def search(self, query: str, *, k: int) -> tuple[Hit, ...]:
        """Rank the passages that share a token with the query: at most k, ties by passage id.

        Hits say `exact=False`: the score is BM25's, not MaxSim.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1; got {k}")
        if self._bm25 is None:
            return ()
        token_ids = self._bm25.get_tokens_ids(tokenize(query))
        if not token_ids:
            return ()
        scores = self._bm25.get_scores_from_ids(token_ids)
        # Everything from the k-th best score up, so that ties at the cut are settled by id too.
        last = np.partition(scores, -k)[-k] if k < len(scores) else 0.0
        places = np.flatnonzero((scores >= last) & (scores > 0)).tolist()
        found = sorted(places, key=lambda place: (-scores[place], self.passage_ids[place]))
        return tuple(
            Hit(self.passage_ids[place], float(scores[place]), rank, False) for rank, place in enumerate(found[:k], 1)
        )


def tokenize(text: str) -> list[str]:
    """Cut a text into BM25's tokens, as the head of this module says."""
    text = _DROPPED.sub("", unicodedata.normalize("NFKC", text).lower())
    tokens: list[str] = []
    for match in _pattern().finditer(text):
        run = match.group()
        if match.lastgroup == "bigrams" and len(run) > 1:
            tokens.extend(run[i : i + 2] for i in range(len(run) - 1))
        else:
            tokens.append(run)
    return tokens


@cache
def _pattern() -> re.Pattern[str]:
    """Match a run of script that is cut into bigrams, or a word of any other letters, digits and combining marks."""
    marks = _ranges(code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "M")
    word = rf"(?![{_BIGRAMS}])[\w{marks}]"
    return re.compile(rf"(?P<bigrams>(?:[{_BIGRAMS}](?<=[\w{marks}]))+)|(?P<word>(?:{word})+)")


def _ranges(codes: Iterable[int]) -> str:
    """Write ascending code points as the inside of a character class."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and code == spans[-1][1] + 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in spans)


def _index(texts: Sequence[list[str]]) -> bm25s.BM25:
    """Count tokens into a bm25s index (Lucene's variant of the formula, the library's default)."""
    bm25 = bm25s.BM25(k1=K1, b=B, method="lucene")
    bm25.index(list(texts), create_empty_token=False, show_progress=False)
    return bm25
