"""Hard negatives: where they come from, and what is no negative."""

import pytest

from xm.errors import TrainingError
from xm.train.data import QuestionPair
from xm.train.finetune import false_negatives
from xm.train.negatives import (
    Candidate,
    NegativeOptions,
    Triple,
    make_triples,
    near_duplicates,
    share_of,
    true_negatives,
)

PAIRS = [
    QuestionPair("who built the red bridge", "The red bridge was built by Anna in spring", title="Bridges"),
    QuestionPair("how long is the blue bridge", "The blue bridge has a length of two miles", title="Bridges"),
    QuestionPair("what do cats eat", "Cats eat fish, mice and what they find", title="Cats"),
    QuestionPair("where do cats sleep", "On warm roofs cats sleep for many hours", title="Cats"),
]


def test_bm25_gives_the_passage_that_shares_most_words():
    triples = make_triples(PAIRS, NegativeOptions(depth=1), seed=0)
    assert triples[0] == Triple(PAIRS[0].question, PAIRS[0].passage, (PAIRS[1].passage,))
    assert triples[2].negatives == (PAIRS[3].passage,)


def test_in_batch_triples_have_no_hard_negative_and_given_ones_those_of_the_data():
    assert make_triples(PAIRS[:1], NegativeOptions("in-batch"), seed=0)[0].negatives == ()
    named = [QuestionPair("who?", "Anna did it", negatives=("Nobody", "Bob did it"))]
    triples = make_triples([*named, PAIRS[0]], NegativeOptions("given", n=2), seed=0)
    assert [set(triple.negatives) for triple in triples] == [{"Nobody", "Bob did it"}]  # the second has none: dropped


def test_random_negatives_are_other_passages_and_depend_on_the_seed_alone():
    options = NegativeOptions("random", n=2)
    triples = make_triples(PAIRS, options, seed=3)
    assert triples == make_triples(PAIRS, options, seed=3)
    assert any(triples != make_triples(PAIRS, options, seed=seed) for seed in range(4, 9))
    for triple in triples:
        assert len(set(triple.negatives)) == 2 and triple.positive not in triple.negatives


def test_passages_of_the_same_title_can_be_left_out():
    triples = make_triples(PAIRS, NegativeOptions("random", depth=4, other_titles=True), seed=0)
    assert all(("bridge" in t.positive) != ("bridge" in t.negatives[0]) for t in triples)


def test_a_candidate_above_a_share_of_the_positives_score_is_no_negative():
    candidates = [Candidate("far too good", "", 0.99), Candidate("just good", "", 0.95), Candidate("bad", "", 0.1)]
    assert true_negatives(PAIRS[0], candidates, NegativeOptions(max_share=0.95)) == ["just good", "bad"]
    assert true_negatives(PAIRS[0], candidates, NegativeOptions(depth=1)) == ["far too good"]
    # By BM25, "blue bridge" scores below "red bridge" for the first question; a limit of nearly nothing leaves none.
    assert make_triples(PAIRS, NegativeOptions(max_share=0.99), seed=0)
    with pytest.raises(TrainingError, match="none of 4 questions has 1 negatives"):
        make_triples(PAIRS, NegativeOptions(max_share=1e-6), seed=0)


def test_a_share_beside_a_positive_of_no_score_is_beyond_every_limit():
    assert share_of(1.0, 4.0) == 0.25
    assert share_of(1.0, 0.0) == share_of(1.0, -2.0) == float("inf")


def test_near_duplicates_share_half_the_word_triples_of_the_shorter():
    text = "one two three four five six seven eight nine ten"  # 8 triples
    assert near_duplicates(text, text.upper() + "!")
    assert near_duplicates(
        text, f"This is a much longer passage; quite another beginning, {text} and then an end of it"
    )
    assert near_duplicates(text, "one two three four five six a b c d")  # 4 of 8
    assert not near_duplicates(text, "one two three four five a b c d e")  # 3 of 8
    assert not near_duplicates("yes", "no")


def test_near_duplicates_of_the_positive_are_no_negatives():
    copy = QuestionPair("another question", "The red bridge was built by Anna in spring.")
    triples = make_triples([*PAIRS, copy], NegativeOptions("random", n=3), seed=0)
    assert not any(copy.passage in triple.negatives for triple in triples if triple.question == PAIRS[0].question)


def test_false_negatives_within_a_batch_are_copies_and_answers_to_the_same_question():
    triples = [
        Triple("who?", "Anna built the red bridge", ("Bob built a tall tower",)),
        Triple("Who?", "It was her friend Clara", ("Anna built the red bridge!",)),
        Triple("when?", "In the spring of last year", ("Nobody knows it at all",)),
    ]
    assert false_negatives(triples).tolist() == [
        [False, False, True, True, False, False],  # the same question's positive, and a copy of its own
        [True, False, False, False, False, False],
        [False, False, False, False, False, False],
    ]


@pytest.mark.parametrize("options", [{"kind": "nearest"}, {"n": 0}, {"n": 3, "depth": 2}, {"pool": 1}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(TrainingError, match="expected"):
        NegativeOptions(**options)


def test_one_passage_alone_has_no_negative():
    with pytest.raises(TrainingError, match="at least two passages"):
        make_triples(PAIRS[:1], NegativeOptions(), seed=0)
