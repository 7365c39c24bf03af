"""Contrastive fine-tuning on English questions with adapters and embeddings frozen (colbert-xm, section 3.2).

The loss of a batch of English triples is L_pair + L_IB (equations 6 to 8). In the variant that ships, batches of
parallel sentences in between keep the languages aligned while the shared weights move; `pure` runs leave them out.
"""

from collections.abc import Sequence

from torch import Tensor

from xm.train.data import ParallelPair
from xm.train.losses import in_batch_loss, maxsim_scores, pair_loss
from xm.train.negatives import Triple
from xm.train.student import LateInteraction, Texts

ENGLISH = "en_XX"


def triple_loss(student: LateInteraction, texts: Texts, triples: Sequence[Triple]) -> tuple[Tensor, int]:
    """Return L_pair + L_IB of a batch of English triples, and its number of tokens."""
    queries = texts.queries([triple.question for triple in triples], ENGLISH)
    both = [passage for triple in triples for passage in (triple.positive, triple.negative)]
    passages = texts.passages(both, ENGLISH)
    scores = maxsim_scores(student(queries), queries.attended, student(passages), passages.attended)
    rows = range(len(triples))
    positive = scores[rows, [2 * row for row in rows]]
    negative = scores[rows, [2 * row + 1 for row in rows]]
    loss = pair_loss(positive, negative[:, None]) + in_batch_loss(scores, n_ways=2)
    return loss, int(queries.attended.sum() + passages.attended.sum())


def parallel_loss(student: LateInteraction, texts: Texts, pairs: Sequence[ParallelPair]) -> tuple[Tensor, int]:
    """Return L_IB of one language's sentences as queries for their English translations, and the reverse."""
    language = pairs[0].code
    foreign, english = [pair.text for pair in pairs], [pair.english for pair in pairs]
    queries = texts.queries(foreign, language)
    passages = texts.passages(english, ENGLISH)
    forth = maxsim_scores(student(queries), queries.attended, student(passages), passages.attended)
    back_queries = texts.queries(english, ENGLISH)
    back_passages = texts.passages(foreign, language)
    back = maxsim_scores(student(back_queries), back_queries.attended, student(back_passages), back_passages.attended)
    n_tokens = sum(int(batch.attended.sum()) for batch in (queries, passages, back_queries, back_passages))
    return in_batch_loss(forth) + in_batch_loss(back), n_tokens
