"""Hard negatives for contrastive fine-tuning, and which passages are no negatives at all.

Leaves out: passages ranked by a model (xm.train.mining).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from xm.errors import TrainingError
from xm.lexical import LexicalIndex
from xm.train.data import QuestionPair
from xm.types import LanguageGuess, Passage

ENGLISH = "en_XX"
KINDS = ("given", "random", "bm25", "in-batch", "self")
_NEAR = 0.5  # share of common word triples from which on two passages say the same; chance overlaps stay below 0.1
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Triple:
    """A question, the passage that answers it, and passages that do not: equally many in all triples of a run."""

    question: str
    positive: str
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class NegativeOptions:
    """Where hard negatives come from, and which candidates count as false ones and are left out.

    kind: one of KINDS. n: hard negatives a question (in-batch: none). depth: they are drawn from this many candidates,
    the best-ranked ones. other_titles: a passage of the positive's title is no negative. max_share: one that scores
    above this share of the positive's score is none either (Moreira et al. 2024 take 0.95; None: no limit). pool: how
    many passages a model ranks at once when it mines, which bounds memory and time.
    """

    kind: str = "bm25"
    n: int = 1
    depth: int = 20
    other_titles: bool = False
    max_share: float | None = None
    pool: int = 4_000

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise TrainingError(f"negatives {self.kind!r}: expected one of {', '.join(KINDS)}")
        if not 1 <= self.n <= self.depth or self.pool < 2:
            raise TrainingError(f"{self.n} negatives of {self.depth} candidates, pools of {self.pool}: expected 1 or "
                                "more of at least as many candidates, and pools of 2 or more")  # fmt: skip


class Candidate(NamedTuple):
    """A passage that may be a negative; share: its score over the positive's (0 where nothing was scored)."""

    text: str
    title: str
    share: float = 0.0


def make_triples(pairs: Sequence[QuestionPair], options: NegativeOptions, *, seed: int) -> list[Triple]:
    """Give each question `options.n` negatives drawn from its candidates; questions with fewer left are dropped.

    Raises:
        TrainingError: no question keeps its negatives, or the kind is "self", which xm.train.mining turns into "given".
    """
    if options.kind == "in-batch":
        return [Triple(pair.question, pair.passage, ()) for pair in pairs]
    generator = np.random.default_rng(seed)
    triples = []
    for pair, candidates in zip(pairs, _candidates(pairs, options, generator), strict=True):
        kept = true_negatives(pair, candidates, options)
        if len(kept) >= options.n:
            chosen = generator.choice(len(kept), size=options.n, replace=False)
            triples.append(Triple(pair.question, pair.passage, tuple(kept[i] for i in chosen)))
    if not triples:
        reason = "the data names none; choose another kind" if options.kind == "given" else "give more passages"
        raise TrainingError(f"none of {len(pairs)} questions has {options.n} negatives ({options.kind}): {reason}")
    return triples


def true_negatives(pair: QuestionPair, candidates: Iterable[Candidate], options: NegativeOptions) -> list[str]:
    """Return the texts of at most `options.depth` candidates that are not false, in their order."""
    kept: list[str] = []
    for candidate in candidates:
        same_title = options.other_titles and pair.title and candidate.title == pair.title
        too_good = options.max_share is not None and candidate.share > options.max_share
        if not (same_title or too_good or near_duplicates(candidate.text, pair.passage)):
            kept.append(candidate.text)
        if len(kept) == options.depth:
            break
    return kept


def near_duplicates(one: str, other: str) -> bool:
    """Say whether two passages are the same but for little: half the word triples of the shorter are the other's."""
    if one == other:
        return True
    ours, theirs = _word_triples(one), _word_triples(other)
    return len(ours & theirs) >= _NEAR * min(len(ours), len(theirs))


@lru_cache(maxsize=8_192)
def _word_triples(text: str) -> frozenset[int]:
    """Return hashes of each three words in a row; of a text of fewer words, one of them all."""
    words = _WORDS.findall(text.casefold())
    return frozenset(hash(tuple(words[i : i + 3])) for i in range(max(1, len(words) - 2)))


def titles_of(pairs: Sequence[QuestionPair]) -> dict[str, str]:
    """Return the passages of all pairs, each once, with its title."""
    titles = {pair.passage: pair.title for pair in pairs}
    if len(titles) < 2:
        raise TrainingError(f"hard negatives need at least two passages; got {len(titles)}")
    return titles


def _candidates(
    pairs: Sequence[QuestionPair], options: NegativeOptions, generator: np.random.Generator
) -> Iterator[Sequence[Candidate]]:
    """Yield the candidates of each pair in turn."""
    if options.kind == "given":
        yield from ([Candidate(text, "") for text in pair.negatives] for pair in pairs)
        return
    passages = [Candidate(text, title) for text, title in titles_of(pairs).items()]
    if options.kind == "random":
        for _ in pairs:
            drawn = dict.fromkeys(generator.integers(len(passages), size=2 * options.depth).tolist())
            yield [passages[i] for i in drawn]
    elif options.kind == "bm25":
        yield from _by_bm25(pairs, passages, options)
    else:
        raise TrainingError("self-mined negatives are made by `xm train mine` first; then they are given")


def _by_bm25(
    pairs: Sequence[QuestionPair], passages: Sequence[Candidate], options: NegativeOptions
) -> Iterator[list[Candidate]]:
    """Yield the passages that BM25 ranks highest; with a limit to their share, as deep as the positive's score."""
    english = LanguageGuess(ENGLISH, 1.0, "given")
    index = LexicalIndex(Passage(str(i), passage.text, english) for i, passage in enumerate(passages))
    depth = min(len(passages), 2 * options.depth if options.max_share is None else len(passages))
    for pair in pairs:
        hits = [(passages[int(hit.passage_id)], hit.score) for hit in index.search(pair.question, k=depth)]
        best = next((score for passage, score in hits if passage.text == pair.passage), 0.0)
        yield [passage._replace(share=share_of(score, best)) for passage, score in hits]


def share_of(score: float, positive: float) -> float:
    """Return a score over the positive's; beside a positive that scores nothing, every passage is too good."""
    return score / positive if positive > 0 else float("inf")
