"""The losses against values worked by hand and slow loops."""

import math

import torch

from xm.train.losses import in_batch_loss, maxsim_scores, pair_loss


def test_maxsim_of_two_tokens_is_the_sum_of_the_row_maxima():
    query = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    passage = torch.tensor([[[0.6, 0.8], [-1.0, 0.0]]])
    everything = torch.ones(1, 2, dtype=torch.bool)
    assert math.isclose(maxsim_scores(query, everything, passage, everything).item(), 0.6 + 0.8, abs_tol=1e-6)


def test_padding_does_not_lift_a_negative_maximum_to_zero():
    query = torch.tensor([[[1.0, 0.0]]])
    passage = torch.tensor([[[-0.5, 0.0], [0.0, 0.0]]])  # the second row is padding
    mask = torch.tensor([[True, False]])
    assert maxsim_scores(query, torch.ones(1, 1, dtype=torch.bool), passage, mask).item() == -0.5


def test_maxsim_equals_a_loop_over_ragged_texts():
    generator = torch.Generator().manual_seed(0)
    queries, passages = torch.randn(3, 5, 4, generator=generator), torch.randn(2, 7, 4, generator=generator)
    query_lengths, passage_lengths = [5, 2, 3], [7, 4]
    query_mask = torch.arange(5)[None] < torch.tensor(query_lengths)[:, None]
    passage_mask = torch.arange(7)[None] < torch.tensor(passage_lengths)[:, None]
    scores = maxsim_scores(queries, query_mask, passages, passage_mask)
    for i, n_query in enumerate(query_lengths):
        for j, n_passage in enumerate(passage_lengths):
            slow = sum(max(float(q @ p) for p in passages[j, :n_passage]) for q in queries[i, :n_query])
            assert math.isclose(scores[i, j].item(), slow, abs_tol=1e-5)


def test_pair_loss_of_equal_scores_is_the_log_of_the_number_of_ways():
    loss = pair_loss(torch.tensor([2.0, 5.0]), torch.tensor([[2.0], [5.0]]))
    assert math.isclose(loss.item(), math.log(2), abs_tol=1e-6)


def test_in_batch_loss_leaves_the_own_hard_negative_out():
    scores = torch.zeros(2, 4)
    scores[0, 1] = scores[1, 3] = 100.0  # own negatives: would ruin the loss if they counted
    # Left for each query: its positive and the two passages of the other query, all at 0.
    assert math.isclose(in_batch_loss(scores, n_ways=2).item(), math.log(3), abs_tol=1e-6)
