"""The losses of late interaction, over padded batches of token embeddings.

Padding of passages is masked with minus infinity, never with zero, so that a negative maximum counts as it is.
"""

import torch
from torch import Tensor
from torch.nn import functional


def maxsim_scores(queries: Tensor, query_mask: Tensor, passages: Tensor, passage_mask: Tensor) -> Tensor:
    """Score every query against every passage.

    Args:
        queries: (n_queries, n_query_tokens, dim); query_mask: (n_queries, n_query_tokens) bool, True where scored.
        passages: (n_passages, n_passage_tokens, dim); passage_mask likewise.

    Returns:
        (n_queries, n_passages): Khattab & Zaharia 2020, equation 3.
    """
    cells = torch.einsum("qid,pjd->qpij", queries, passages)
    cells = cells.masked_fill(~passage_mask[None, :, None, :], float("-inf"))
    return (cells.amax(dim=-1) * query_mask[:, None, :]).sum(dim=-1)


def own_scores(scores: Tensor, n_ways: int) -> Tensor:
    """Return each query's scores of its own passages, (batch, n_ways), out of (batch, batch * n_ways)."""
    rows = torch.arange(len(scores), device=scores.device)
    return scores.reshape(len(scores), len(scores), n_ways)[rows, rows]


def pair_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """L_pair: softmax cross-entropy of the positive over its own hard negatives (colbert-xm, equation 7).

    Without a hard negative it is 0.

    Args:
        positive: (batch,) scores; negative: (batch, n_negatives) scores.
    """
    return -functional.log_softmax(torch.cat([positive[:, None], negative], dim=1), dim=1)[:, 0].mean()


def in_batch_loss(scores: Tensor, n_ways: int = 1, *, false: Tensor | None = None) -> Tensor:
    """L_IB: softmax cross-entropy of the positive over the passages of the other queries (colbert-xm, equation 8).

    A query's own hard negatives are left out: they belong to L_pair.

    Args:
        scores: (batch, batch * n_ways); the passages of query i are columns i * n_ways (positive) and the
            n_ways - 1 behind it.
        false: bool of that shape, True for passages of other queries that answer this one too; left out as well.
    """
    places = torch.arange(len(scores), device=scores.device)
    owner = torch.arange(scores.shape[1], device=scores.device) // n_ways
    left_out = owner[None, :] == places[:, None]
    if false is not None:
        left_out = left_out | false
    left_out[places, places * n_ways] = False
    return functional.cross_entropy(scores.masked_fill(left_out, float("-inf")), places * n_ways)


def joint_loss(scores: Tensor, n_ways: int = 1, *, false: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy of the positive over every passage of the batch, own hard negatives included.

    The single-vector twin's: one softmax over cosines divided by a temperature (colbert-xm, equation 9; DPR-XM was
    trained with it). Arguments as of `in_batch_loss`.
    """
    positive = torch.arange(len(scores), device=scores.device) * n_ways
    if false is not None:
        false = false.scatter(1, positive[:, None], False)
        scores = scores.masked_fill(false, float("-inf"))
    return functional.cross_entropy(scores, positive)


def distillation_loss(scores: Tensor, teacher: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of the student's softmax over a query's passages from the teacher's, in nats.

    ColBERTv2 (Santhanam et al. 2022, section 3.2): the mean over the batch.

    Args:
        scores, teacher: (batch, n_passages).
        alpha: the teacher's scores are multiplied by it first: above 1 its choice becomes sharper.
    """
    ours, theirs = functional.log_softmax(scores, dim=1), functional.log_softmax(alpha * teacher, dim=1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def stretch(scores: Tensor) -> Tensor:
    """Min-max normalisation of each row: its lowest score becomes 0, its highest 1; a row of equal scores, all 0."""
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    return (scores - low) / (high - low + 1e-8)  # PyLate's epsilon
