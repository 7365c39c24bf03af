"""BM25 as a teacher: what each piece of a question counts, learnt from any language's plain text.

MaxSim adds up its tokens alike, so that a common piece weighs less only if its vector finds a match in every passage.
Contrast hardly teaches that: a sentence finds its own paragraph without it. How BM25 scores all passages of a batch
does (a dense model that imitates BM25: Chen et al. 2022, "Salient Phrase Aware Dense Retrieval"), where they share
words (topic-aware sampling: Hofstätter et al. 2021, section 3.2) and differ in length.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from xm.train.cloze import ClozePair, cloze_pair, fill_batch, longer, shorten
from xm.train.finetune import Side, score_texts
from xm.train.losses import distillation_loss
from xm.train.student import LateInteraction, Texts

_K1, _B = 1.5, 0.75  # bm25s' defaults
_ALPHA = 0.25  # BM25's scores spread about four times as wide as MaxSim's
_KEPT = 0.5  # of the passages keep the query's sentence before they are shortened: some share its words, some its topic
_READ = 192  # tokens of a passage, more than elsewhere: a long one has more words that match by accident
_GROUP = 4  # passages about the same: hard negatives of each other
_ALIKE = 12  # nearest paragraphs that the rest of a group is drawn from
_COPY = 0.9  # cosine above which a paragraph is taken for a copy


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

    def vectors(self, texts: Sequence[Sequence[int]], *, n_pieces: int) -> sparse.csr_array:
        """Return the rarity of each piece that a text holds, (n_texts, n_pieces) float32, rows of unit length."""
        held = [sorted(set(pieces)) for pieces in texts]
        columns = np.array([piece for pieces in held for piece in pieces], np.int32)
        rarities = np.array([self.rarity(piece) for piece in range(n_pieces)], np.float32)
        starts = np.cumsum([0, *map(len, held)])
        rows = sparse.csr_array((rarities[columns], columns, starts), shape=(len(held), n_pieces))
        lengths = np.sqrt(rows.power(2).sum(axis=1))
        return (sparse.diags_array(1 / np.maximum(lengths, 1e-9)) @ rows).astype(np.float32)

    def score(self, question: Sequence[int], passage: Counter[int]) -> float:
        """Score a passage, given as how often it has each piece."""
        room = _K1 * (1 - _B + _B * passage.total() / self.mean_length)
        shared = ((self.rarity(piece), passage[piece]) for piece in question if piece in passage)
        return sum(rarity * n * (_K1 + 1) / (n + room) for rarity, n in shared)


@dataclass(frozen=True, eq=False)
class Ranking:
    """One language's plain text as a task: rank the passages of a batch for each of its queries as BM25 does.

    vectors: of the paragraphs, as `Bm25.vectors` gives them.
    """

    texts: Texts
    paragraphs: Sequence[str]
    bm25: Bm25
    vectors: sparse.csr_array

    @classmethod
    def of(cls, texts: Texts, paragraphs: Sequence[str], *, bm25: Bm25 | None = None) -> "Ranking":
        """Take the longer paragraphs, and count their pieces as far as the model will read.

        Args:
            bm25: statistics to rank by; None: those of these paragraphs, as short as they are drawn.
        """
        texts, paragraphs = replace(texts, passage_length=_READ), longer(paragraphs)
        read = [ids[: texts.passage_room] for ids in texts.pieces(paragraphs)]
        if bm25 is None:
            generator = random.Random(0)
            bm25 = Bm25.of([ids[: generator.randint(1, len(ids))] for ids in read if ids])
        return cls(texts, paragraphs, bm25, bm25.vectors(read, n_pieces=texts.tokenizer.get_vocab_size()))

    def draw(self, generator: random.Random, *, size: int) -> list[ClozePair]:
        """Draw the queries of a batch, each with its passage, in groups about the same."""

        def group() -> list[ClozePair | None]:
            place = generator.randrange(len(self.paragraphs))
            alike = self.alike(place)
            places = [place, *generator.sample(alike, min(_GROUP - 1, len(alike)))]
            drawn = [cloze_pair(self.paragraphs[i], generator, kept=_KEPT) for i in places]
            return [pair and shorten(pair, generator) for pair in drawn]

        return fill_batch(group, size=size)

    def alike(self, place: int) -> list[int]:
        """Return the places of the paragraphs that share most rare pieces with one; copies of it are taken last."""
        cosines = (self.vectors @ self.vectors[[place]].T).toarray().ravel()
        cosines[cosines > _COPY] = -1
        cosines[place] = -2
        n = min(_ALIKE, len(cosines) - 1)
        return np.argsort(-cosines, kind="stable")[:n].tolist()

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
