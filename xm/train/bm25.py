"""BM25 as a teacher: what each piece of a question counts, learnt from any language's plain text.

MaxSim adds up its tokens alike, so that a common piece weighs less only if its vector finds a match in every passage.
Contrast hardly teaches that: a sentence finds its own paragraph without it. How BM25 scores all passages of a batch
does (a dense model that imitates BM25: Chen et al. 2022, "Salient Phrase Aware Dense Retrieval").
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from xm.train.cloze import ClozePair, cloze_batch, longer
from xm.train.finetune import Side, score_texts
from xm.train.losses import distillation_loss
from xm.train.student import LateInteraction, Texts

_K1, _B = 1.5, 0.75  # bm25s' defaults
_ALPHA = 0.25  # BM25's scores spread about four times as wide as MaxSim's
_KEPT = 0.5  # of the passages keep the query's sentence: some share its words, some its topic
_READ = 160  # tokens of a passage, more than elsewhere: a long one has more words that match by accident


@dataclass(frozen=True, eq=False)
class Bm25:
    """BM25 over pieces (Robertson & Zaragoza 2009, equation 3.15), with the statistics of `n_texts` texts.

    found_in: how many of the texts hold a piece. mean_length: pieces of a text.
    """

    n_texts: int
    found_in: Counter[int]
    mean_length: float

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "Bm25":
        """Count the pieces of texts."""
        found_in = Counter(piece for pieces in texts for piece in set(pieces))
        return cls(len(texts), found_in, fmean(len(pieces) for pieces in texts))

    def rarity(self, piece: int) -> float:
        """Return the inverse document frequency of a piece."""
        return math.log((self.n_texts + 1) / (self.found_in[piece] + 0.5))

    def score(self, question: Sequence[int], passage: Counter[int]) -> float:
        """Score a passage, given as how often it has each piece."""
        room = _K1 * (1 - _B + _B * passage.total() / self.mean_length)
        shared = ((self.rarity(piece), passage[piece]) for piece in question if piece in passage)
        return sum(rarity * n * (_K1 + 1) / (n + room) for rarity, n in shared)


@dataclass(frozen=True, eq=False)
class Ranking:
    """One language's plain text as a task: rank the passages of a batch for each of its queries as BM25 does."""

    texts: Texts
    paragraphs: Sequence[str]
    bm25: Bm25

    @classmethod
    def of(cls, texts: Texts, paragraphs: Sequence[str]) -> "Ranking":
        """Take the longer paragraphs, and count their pieces as far as the model will read."""
        texts, paragraphs = replace(texts, passage_length=_READ), longer(paragraphs)
        return cls(texts, paragraphs, Bm25.of([ids[: texts.passage_room] for ids in texts.pieces(paragraphs)]))

    def draw(self, generator: random.Random, *, size: int) -> list[ClozePair]:
        """Draw the queries of a batch, each with its passage."""
        return cloze_batch(self.paragraphs, generator, size=size, kept=_KEPT)

    def loss(self, student: LateInteraction, pairs: Sequence[ClozePair], code: str) -> tuple[Tensor, int]:
        """Return `bm25_loss` of a batch, read through the adapter `code`, and its tokens."""
        return bm25_loss(student, self.texts, pairs, code, self.bm25)


def bm25_loss(
    student: LateInteraction, texts: Texts, pairs: Sequence[ClozePair], code: str, bm25: Bm25
) -> tuple[Tensor, int]:
    """Return how far the ranking of all passages for each query is from BM25's, summed over heads, and the tokens.

    BM25 reads what the model does: both sides are cut alike.
    """
    queries, passages = [pair.query for pair in pairs], [pair.passage for pair in pairs]
    tables, n_tokens = score_texts(student, texts, Side(queries, code), Side(passages, code))
    asked = [pieces[: texts.query_room] for pieces in texts.pieces(queries)]
    read = [Counter(pieces[: texts.passage_room]) for pieces in texts.pieces(passages)]
    theirs = torch.tensor([[bm25.score(query, passage) for passage in read] for query in asked], device=texts.device)
    return torch.stack([distillation_loss(table, theirs, alpha=_ALPHA) for table in tables]).sum(), n_tokens
