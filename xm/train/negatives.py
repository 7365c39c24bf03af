"""Hard negatives for contrastive fine-tuning, and the order in which questions are met.

Leaves out: self-mined negatives (they need an index of the model under training).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xm.errors import TrainingError
from xm.lexical import LexicalIndex
from xm.train.data import QuestionPair
from xm.types import LanguageGuess, Passage


@dataclass(frozen=True)
class Triple:
    """A question, the passage that answers it, and one that does not."""

    question: str
    positive: str
    negative: str


def bm25_triples(pairs: Sequence[QuestionPair], *, depth: int = 20, seed: int = 42) -> list[Triple]:
    """Give each question a random one of the `depth` passages BM25 ranks highest, its own passage excepted.

    A passage that shares its first 80 characters with the positive counts as the positive (near duplicates would be
    false negatives). Questions for which nothing is left are dropped.
    """
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    if len(passages) < 2:
        raise TrainingError(f"hard negatives need at least two passages; got {len(passages)}")
    english = LanguageGuess("en_XX", 1.0, "given")
    index = LexicalIndex(Passage(str(i), passage, english) for i, passage in enumerate(passages))
    generator = np.random.default_rng(seed)
    triples = []
    for pair in pairs:
        ranked = [passages[int(hit.passage_id)] for hit in index.search(pair.question, k=depth)]
        others = [passage for passage in ranked if passage[:80] != pair.passage[:80]]
        if others:
            triples.append(Triple(pair.question, pair.passage, others[generator.integers(len(others))]))
    return triples
