"""The losses against values worked by hand and slow loops."""

import math

import torch

from xm.train.losses import (
    distillation_loss,
    in_batch_loss,
    joint_loss,
    maxsim_scores,
    own_scores,
    pair_loss,
    stretch,
)


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


def test_in_batch_loss_leaves_passages_out_that_answer_the_question_too():
    scores = torch.zeros(2, 4)
    scores[0, 2] = 100.0  # the other query's positive is a copy of this one's
    false = torch.zeros(2, 4, dtype=torch.bool)
    false[0, 2] = True
    # Query 0 has its positive and one negative left, query 1 its positive and two: all at 0.
    expected = (math.log(2) + math.log(3)) / 2
    assert math.isclose(in_batch_loss(scores, n_ways=2, false=false).item(), expected, abs_tol=1e-6)


def test_a_positive_counts_even_where_it_is_marked_as_false():
    everything = torch.ones(2, 4, dtype=torch.bool)
    assert in_batch_loss(torch.zeros(2, 4), n_ways=2, false=everything).item() == 0
    assert joint_loss(torch.zeros(2, 4), n_ways=2, false=everything).item() == 0


def test_without_hard_negatives_the_pair_loss_is_zero_and_the_joint_loss_is_in_batch():
    scores = torch.tensor([[2.0, 1.0], [0.5, 3.0]])
    assert pair_loss(torch.tensor([2.0]), torch.zeros(1, 0)).item() == 0
    assert joint_loss(scores).item() == in_batch_loss(scores).item()


def test_joint_loss_equals_a_loop_over_all_passages():
    scores = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    slow = [-scores[i, 2 * i].item() + math.log(sum(math.exp(s) for s in scores[i].tolist())) for i in range(3)]
    assert math.isclose(joint_loss(scores, n_ways=2).item(), sum(slow) / 3, abs_tol=1e-6)


def test_own_scores_are_those_of_each_querys_own_passages():
    scores = torch.arange(12.0).reshape(2, 6)
    assert own_scores(scores, 3).tolist() == [[0, 1, 2], [9, 10, 11]]


def test_distillation_loss_is_the_divergence_from_the_teachers_softmax():
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2).
    teacher = torch.tensor([[math.log(3), 0.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert math.isclose(distillation_loss(torch.zeros(1, 2), teacher).item(), expected, abs_tol=1e-6)
    # alpha 2 squares the odds: (9/10, 1/10).
    sharper = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert math.isclose(distillation_loss(torch.zeros(1, 2), teacher, alpha=2.0).item(), sharper, abs_tol=1e-6)


def test_distillation_loss_is_zero_for_the_same_ranking_and_a_mean_over_queries():
    scores, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2))
    assert math.isclose(distillation_loss(scores + 7, scores).item(), 0, abs_tol=1e-6)
    each = [distillation_loss(scores[i : i + 1], teacher[i : i + 1]).item() for i in range(4)]
    assert math.isclose(distillation_loss(scores, teacher).item(), sum(each) / 4, abs_tol=1e-6)
    assert all(value > 0 for value in each)


def test_stretched_scores_lie_between_0_and_1_row_by_row():
    stretched = stretch(torch.tensor([[10.0, 20.0, 15.0], [-1.0, -1.0, -1.0]]))
    assert torch.allclose(stretched, torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]), atol=1e-6)
