"""BM25 as a teacher: its scores against bm25s's, and what the loss asks of the model."""

import random
from collections import Counter

import bm25s
import numpy as np
import pytest
import torch
from scipy import sparse

from tests.train.texts import ROWS, write_start, write_texts
from xm.train.bm25 import Bm25, Ranking, bm25_loss
from xm.train.cloze import ClozePair
from xm.train.finetune import Side, score_texts
from xm.train.student import LateInteraction, Texts, load_student

DRAW = random.Random(5)
TEXTS = [DRAW.choices(range(30), weights=range(1, 31), k=DRAW.randint(5, 25)) for _ in range(40)]
PAIRS = [ClozePair(french[:14], french) for _, french in ROWS[:4]]
LETTERS = ("acdeghi", "lnorstu")  # of the words of two topics


def topics(n_each: int) -> list[str]:
    """Write paragraphs of one topic after another, each of three of its topic's letters."""
    draw, paragraphs = random.Random(2), []
    for letters in LETTERS:
        for _ in range(n_each):
            chosen = draw.sample(letters, 3)
            words = ["".join(draw.choices(chosen, k=3)) for _ in range(96)]
            paragraphs.append(" ".join(" ".join(words[i : i + 6]) + "." for i in range(0, 96, 6)))
    return paragraphs


def test_scores_are_those_of_bm25s() -> None:
    library = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    library.index([[str(piece) for piece in text] for text in TEXTS], show_progress=False)
    ours = Bm25.of(TEXTS)
    for question in ([1, 2, 3], [29, 29, 7], TEXTS[0][:6]):
        expected = library.get_scores([str(piece) for piece in question])
        found = [ours.score(question, Counter(text)) for text in TEXTS]
        assert np.allclose(found, (1.5 + 1) * expected, atol=1e-4)  # lucene leaves the constant out


def test_a_piece_that_no_text_has_is_the_rarest_and_matches_nothing() -> None:
    bm25 = Bm25.of(TEXTS)
    assert bm25.rarity(99) > max(bm25.rarity(piece) for piece in range(30))
    assert bm25.score([99], Counter(TEXTS[0])) == 0


def test_vectors_hold_the_rarity_of_each_piece_once_and_are_of_unit_length() -> None:
    bm25 = Bm25.of(TEXTS)
    rows = bm25.vectors([[1, 29, 29], [], TEXTS[3]], n_pieces=30).toarray()
    assert set(np.flatnonzero(rows[0])) == {1, 29}
    assert rows[0, 1] / rows[0, 29] == pytest.approx(bm25.rarity(1) / bm25.rarity(29), rel=1e-5)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 0, 1], rel=1e-5)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> tuple[LateInteraction, Texts]:
    """An untrained checkpoint of English and French, with a smaller head."""
    folder = tmp_path_factory.mktemp("bm25")
    student, texts = load_student(write_start(folder / "start", write_texts(folder / "texts")))
    student.set_sizes((4,))
    return student.eval(), texts


def test_the_loss_is_the_divergence_from_the_ranking_of_bm25_in_every_head(
    student: tuple[LateInteraction, Texts],
) -> None:
    model, texts = student
    bm25 = Bm25.of(texts.pieces([french for _, french in ROWS]))
    found, n_tokens = bm25_loss(model, texts, PAIRS, "fr_XX", bm25)
    queries, passages = [pair.query for pair in PAIRS], [pair.passage for pair in PAIRS]
    tables, expected_tokens = score_texts(model, texts, Side(queries, "fr_XX"), Side(passages, "fr_XX"))
    pieces = [Counter(ids) for ids in texts.pieces(passages)]
    expected = 0.0
    for table in tables:
        for row, ids in zip(table, texts.pieces(queries), strict=True):
            wanted = torch.tensor([0.25 * bm25.score(ids, passage) for passage in pieces]).softmax(0)
            expected += (wanted * (wanted.log() - row.softmax(0).log())).sum().item() / len(PAIRS)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert (len(tables), n_tokens) == (2, expected_tokens)


def test_following_the_loss_brings_the_model_nearer_to_bm25(student: tuple[LateInteraction, Texts]) -> None:
    model, texts = student
    bm25 = Bm25.of(texts.pieces([french for _, french in ROWS]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = bm25_loss(model, texts, PAIRS, "fr_XX", bm25)[0]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_a_ranking_task_takes_long_paragraphs_and_reads_them_further(
    student: tuple[LateInteraction, Texts],
) -> None:
    model, texts = student
    long = [". ".join(DRAW.sample([french for _, french in ROWS], k=len(ROWS))) + "." for _ in range(12)]
    long = [" ".join([line] * (1 + 301 // len(line))) for line in long]
    task = Ranking.of(texts, [*long, "court."])
    assert list(task.paragraphs) == long
    assert task.texts.passage_room > texts.passage_room
    assert task.bm25.n_texts == len(long)
    whole = [len(ids[: task.texts.passage_room]) for ids in texts.pieces(long)]
    assert 0.2 < task.bm25.mean_length / np.mean(whole) < 0.8  # as short as passages are drawn: about half
    pairs = task.draw(random.Random(0), size=200)
    assert len(pairs) == 200
    found = task.loss(model, pairs[:4], "fr_XX")[0].item()
    assert found == pytest.approx(bm25_loss(model, task.texts, pairs[:4], "fr_XX", task.bm25)[0].item())


def test_paragraphs_alike_are_nearest_first_and_copies_last(student: tuple[LateInteraction, Texts]) -> None:
    angles = np.radians([0, 10, 80, 40, 60])
    vectors = sparse.csr_array(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    task = Ranking(student[1], ["text"] * 5, Bm25.of(TEXTS), vectors)
    assert task.alike(0) == [3, 4, 2, 1]
    assert task.alike(4) == [1, 0, 2, 3]  # 20 degrees from the last two: copies


def test_a_batch_is_of_groups_alike_whose_passages_differ_in_length(student: tuple[LateInteraction, Texts]) -> None:
    task = Ranking.of(student[1], topics(16))
    pairs = task.draw(random.Random(0), size=8)
    assert pairs == task.draw(random.Random(0), size=8)
    found = [next(i for i, letters in enumerate(LETTERS) if pair.query[0] in letters) for pair in pairs]
    assert [len(set(found[:4])), len(set(found[4:]))] == [1, 1]
    lengths = [len(pair.passage) for pair in task.draw(random.Random(1), size=200)]
    assert 4 * min(lengths) < max(lengths)
