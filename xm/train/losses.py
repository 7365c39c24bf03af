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


def pair_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """L_pair: softmax cross-entropy of the positive over its own hard negatives (colbert-xm, equation 7).

    Args:
        positive: (batch,) scores; negative: (batch, n_negatives) scores.
    """
    return -functional.log_softmax(torch.cat([positive[:, None], negative], dim=1), dim=1)[:, 0].mean()


def in_batch_loss(scores: Tensor, n_ways: int = 1) -> Tensor:
    """L_IB: softmax cross-entropy of the positive over the passages of the other queries (colbert-xm, equation 8).

    A query's own hard negatives are left out: they belong to L_pair.

    Args:
        scores: (batch, batch * n_ways); the passages of query i are columns i * n_ways (positive) and the
            n_ways - 1 behind it.
    """
    batch = len(scores)
    owner = torch.arange(scores.shape[1], device=scores.device) // n_ways
    positive = torch.arange(batch, device=scores.device) * n_ways
    own_negative = owner[None, :] == torch.arange(batch, device=scores.device)[:, None]
    own_negative[torch.arange(batch), positive] = False
    return functional.cross_entropy(scores.masked_fill(own_negative, float("-inf")), positive)
