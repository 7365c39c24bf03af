"""Contrastive fine-tuning on English questions with adapters and embeddings frozen (colbert-xm, section 3.2).

The loss of a batch of English triples is L_pair + L_IB (equations 6 to 8), or one softmax for the single-vector twin
(equation 9), summed over the heads. In the variant that ships, batches of parallel sentences in between keep the
languages aligned while the shared weights move; `pure` runs leave them out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xm.train.data import ParallelPair
from xm.train.losses import in_batch_loss, joint_loss, maxsim_scores, own_scores, pair_loss
from xm.train.negatives import ENGLISH, Triple, near_duplicates
from xm.train.single_vector import SingleVector
from xm.train.student import LateInteraction, Texts


class Side(NamedTuple):
    """Texts of one language: all queries of a batch, or all its passages."""

    texts: Sequence[str]
    language: str


Model = LateInteraction | SingleVector


def score_texts(model: Model, texts: Texts, queries: Side, passages: Side) -> tuple[list[Tensor], int]:
    """Score every query against every passage.

    Returns:
        Scores (n_queries, n_passages): MaxSim through each head, the full one first, or the twin's cosine over its
        temperature; and the number of tokens read.
    """
    if isinstance(model, SingleVector):
        asked, read = (texts.plain(*side, length=texts.longest) for side in (queries, passages))
        tables = [model(asked) @ model(read).T / model.temperature]
    else:
        asked, read = texts.queries(*queries), texts.passages(*passages)
        pairs = zip(model.every_size(asked), model.every_size(read), strict=True)
        tables = [maxsim_scores(ours, asked.scored, theirs, read.scored) for ours, theirs in pairs]
    return tables, int(asked.attended.sum() + read.attended.sum())


def triple_loss(model: Model, texts: Texts, triples: Sequence[Triple]) -> tuple[Tensor, int]:
    """Return the loss of a batch of English triples, and its number of tokens."""
    n_ways = 1 + len(triples[0].negatives)
    questions = Side([triple.question for triple in triples], ENGLISH)
    passages = Side([passage for triple in triples for passage in (triple.positive, *triple.negatives)], ENGLISH)
    tables, n_tokens = score_texts(model, texts, questions, passages)
    false = false_negatives(triples).to(texts.device)
    joint = isinstance(model, SingleVector)
    losses = [_contrast(table, n_ways, false=false, joint=joint) for table in tables]
    return torch.stack(losses).sum(), n_tokens


def _contrast(scores: Tensor, n_ways: int, *, false: Tensor, joint: bool) -> Tensor:
    if joint:
        return joint_loss(scores, n_ways, false=false)
    own = own_scores(scores, n_ways)
    return pair_loss(own[:, 0], own[:, 1:]) + in_batch_loss(scores, n_ways, false=false)


def false_negatives(triples: Sequence[Triple]) -> Tensor:
    """Find passages of other triples that answer a question too: near duplicates of its own, or its own question's.

    Returns:
        (batch, batch * n_ways) bool, True where passage j is no negative of question i; the hard negatives of the
        same triple were looked at when they were chosen.
    """
    n_ways = 1 + len(triples[0].negatives)
    false = torch.zeros(len(triples), len(triples) * n_ways, dtype=torch.bool)
    for i, asked in enumerate(triples):
        for j, other in enumerate(triples):
            if i == j:
                continue
            for way, passage in enumerate((other.positive, *other.negatives)):
                same_question = way == 0 and other.question.casefold() == asked.question.casefold()
                false[i, j * n_ways + way] = same_question or near_duplicates(passage, asked.positive)
    return false


def parallel_loss(model: Model, texts: Texts, pairs: Sequence[ParallelPair]) -> tuple[Tensor, int]:
    """Return L_IB of one language's sentences as queries for their English translations, and the reverse."""
    foreign = Side([pair.text for pair in pairs], pairs[0].code)
    english = Side([pair.english for pair in pairs], ENGLISH)
    forth, n_forth = score_texts(model, texts, foreign, english)
    back, n_back = score_texts(model, texts, english, foreign)
    return torch.stack([in_batch_loss(table) for table in (*forth, *back)]).sum(), n_forth + n_back
