"""The flat index equals the slow, obvious MaxSim."""

from dataclasses import replace

import numpy as np
import pytest

from tests import fakes
from xm.errors import CorpusError, XmError
from xm.index import kernels, neighbors
from xm.index.flat import FlatIndex, build_flat
from xm.maxsim import align, maxsim
from xm.types import Corpus, LanguageGuess, TokenEmbeddings

ENGLISH = LanguageGuess("en_XX", 1.0, "given")


def embeddings_of(vectors: list[list[float]], text: str = "") -> TokenEmbeddings:
    n_tokens = len(vectors)
    return TokenEmbeddings(
        text=text,
        vectors=np.array(vectors, dtype=np.float32).reshape(n_tokens, -1),
        tokens=tuple(f"t{i}" for i in range(n_tokens)),
        offsets=np.full((n_tokens, 2), -1, dtype=np.int32),
        kinds=("content",) * n_tokens,
        language=ENGLISH,
    )


def random_index(*, n_passages: int, dim: int = 8, seed: int = 0) -> tuple[FlatIndex, list[np.ndarray]]:
    """An index of random unit vectors, 1 to 9 tokens a passage, and the vectors themselves."""
    rng = np.random.default_rng(seed)
    rows = [rng.standard_normal((rng.integers(1, 10), dim)).astype(np.float32) for _ in range(n_passages)]
    rows = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows]
    corpus = fakes.corpus(*("" for _ in rows))
    items = [embeddings_of(row.tolist()) for row in rows]
    return build_flat(corpus, items, model="m", revision="r"), rows


def index_of(*texts: str, codes: str = "en_XX") -> tuple[FlatIndex, fakes.FakeEncoder]:
    encoder = fakes.FakeEncoder()
    corpus = fakes.corpus(*texts)
    items = encoder.encode_passages(texts, [passage.language for passage in corpus.passages])
    return build_flat(corpus, items, model=encoder.model, revision=encoder.revision), encoder


def test_scores_of_an_example_worked_by_hand() -> None:
    # Query tokens along x and along y. p0 holds x and the diagonal: 1 + 0.8. p1 holds -x and -y: its best are 0 + 0,
    # as (x, -y) and (y, -x) are at right angles. p2 holds -x alone: -1 + 0, a negative maximum counts as it is.
    items = [embeddings_of([[1, 0], [0.6, 0.8]]), embeddings_of([[-1, 0], [0, -1]]), embeddings_of([[-1, 0]])]
    index = build_flat(fakes.corpus("", "", ""), items, model="m", revision="r")
    hits = index.search(np.eye(2, dtype=np.float32), k=3)
    assert [(hit.passage_id, hit.rank) for hit in hits] == [("p0", 1), ("p1", 2), ("p2", 3)]
    assert [hit.score for hit in hits] == pytest.approx([1.8, 0.0, -1.0])
    assert all(hit.exact for hit in hits)


def test_scores_are_the_slow_ones() -> None:
    index, rows = random_index(n_passages=60)
    query = rows[3]
    slow = [sum(max(float(q @ p) for p in row) for q in query) for row in rows]
    assert index.score_all(query) == pytest.approx(slow, abs=1e-5)
    order = sorted(range(60), key=lambda place: (-slow[place], f"p{place}"))
    assert [hit.passage_id for hit in index.search(query, k=60)] == [f"p{place}" for place in order]


def test_deleted_passages_are_scored_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_SMALL_TOKENS", 0)
    monkeypatch.setattr(kernels, "_CHUNK_TOKENS", 20)
    whole, rows = random_index(n_passages=30)
    live = np.array([place for place in range(30) if place % 3])
    corpus = Corpus("toy", tuple(whole.corpus.passages[place] for place in live))
    index = replace(whole, table=replace(whole.table, corpus=corpus, live=live))
    assert index.n_passages == len(corpus.passages) == 20
    np.testing.assert_array_equal(index.score_all(rows[0]), whole.score_all(rows[0])[live])
    hits = [(hit.passage_id, hit.score) for hit in whole.search(rows[0], k=30)]
    kept = [hit for hit in hits if int(hit[0][1:]) % 3]
    assert [(hit.passage_id, hit.score) for hit in index.search(rows[0], k=100)] == kept
    np.testing.assert_array_equal(index.reconstruct("p5").vectors, rows[5])
    with pytest.raises(XmError, match="no passage has the id 'p3'"):
        index.reconstruct("p3")


def test_halves_are_scored_as_what_they_were_rounded_to() -> None:
    exact, rows = random_index(n_passages=20)
    items = [exact.reconstruct(passage_id) for passage_id in exact.corpus.passage_ids]
    index = build_flat(exact.corpus, items, model="m", revision="r", dtype="float16")
    assert index.vectors.dtype == np.float16
    rounded = [row.astype(np.float16).astype(np.float32) for row in rows]
    assert index.score_all(rows[2]) == pytest.approx([maxsim(rows[2], row) for row in rounded], abs=1e-6)
    for hit in index.search(rows[2], k=20):
        back = index.reconstruct(hit.passage_id).vectors
        np.testing.assert_array_equal(back, rounded[int(hit.passage_id[1:])])
        assert back.dtype == np.float32
        assert hit.score == maxsim(rows[2], back)


def test_a_query_that_is_unlike_everything_still_ranks_everything() -> None:
    items = [embeddings_of([[1, 0], [0.6, 0.8]]), embeddings_of([[0.8, 0.6]])]
    index = build_flat(fakes.corpus("", ""), items, model="m", revision="r")
    hits = index.search(np.array([[-1, 0], [0, -1]], dtype=np.float32), k=2)
    assert [(hit.passage_id, round(hit.score, 6)) for hit in hits] == [("p0", -0.6), ("p1", -1.4)]


def test_a_hits_score_is_the_very_float_of_its_alignment() -> None:
    texts = [f"the quick fox number {i} jumps over dogs" for i in range(40)]
    index, encoder = index_of(*texts)
    query = encoder.encode_query("which fox jumps?", ENGLISH)
    for hit in index.search(query.vectors, k=40):
        assert hit.score == align(query, index.reconstruct(hit.passage_id)).score


def test_equal_passages_have_equal_scores_and_come_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_SMALL_TOKENS", 0)
    monkeypatch.setattr(kernels, "_CHUNK_TOKENS", 13)
    texts = [f"filler {'x ' * (i % 5)}" if i % 3 else "the same passage" for i in range(30)]
    index, encoder = index_of(*texts)
    hits = index.search(encoder.encode_query("the same passage", ENGLISH).vectors, k=4)
    assert len({hit.score for hit in hits}) == 1
    assert [hit.passage_id for hit in hits] == sorted(f"p{i}" for i in range(0, 30, 3))[:4]


def test_more_hits_than_passages_gives_as_many_as_there_are() -> None:
    index, rows = random_index(n_passages=3)
    assert [hit.rank for hit in index.search(rows[0], k=100)] == [1, 2, 3]


@pytest.mark.parametrize("k", [1, 2, 5, 59])
def test_fewer_hits_are_the_first_of_more(k: int) -> None:
    index, rows = random_index(n_passages=60)
    assert index.search(rows[0], k=k) == index.search(rows[0], k=60)[:k]


def test_a_passage_comes_back_as_it_was_encoded() -> None:
    index, encoder = index_of("Photosynthesis stores energy.", "日本語 and words", "x" * 900)
    for passage in index.corpus.passages:
        item = encoder.encode_passages([passage.text], [passage.language])[0]
        back = index.reconstruct(passage.passage_id)
        assert (back.text, back.tokens, back.kinds, back.language) == (
            item.text,
            item.tokens,
            item.kinds,
            item.language,
        )
        assert back.n_unseen == item.n_unseen
        np.testing.assert_array_equal(back.vectors, item.vectors)
        np.testing.assert_array_equal(back.offsets, item.offsets)


def test_an_unknown_id_is_an_error_that_names_near_ones() -> None:
    index, _ = random_index(n_passages=12)
    with pytest.raises(XmError, match="'p111'.*'p11'"):
        index.reconstruct("p111")
    with pytest.raises(XmError, match="like 'p0', 'p1', 'p2'"):
        index.reconstruct("utterly different")


@pytest.mark.parametrize("k", [0, -1])
def test_asking_for_no_hits_is_an_error(k: int) -> None:
    index, rows = random_index(n_passages=3)
    with pytest.raises(XmError, match="at least 1"):
        index.search(rows[0], k=k)


@pytest.mark.parametrize("query", [np.zeros((2, 5)), np.zeros(8), np.zeros((0, 8)), np.full((2, 8), np.nan)])
def test_a_query_that_does_not_fit_is_an_error(query: np.ndarray) -> None:
    index, _ = random_index(n_passages=3)
    with pytest.raises(XmError, match="encode the query"):
        index.search(query.astype(np.float32), k=1)


def test_an_empty_corpus_cannot_be_indexed() -> None:
    with pytest.raises(CorpusError, match="'nothing' has no passages"):
        build_flat(Corpus("nothing", ()), [], model="m", revision="r")


def test_embeddings_must_belong_to_the_passages() -> None:
    encoder = fakes.FakeEncoder()
    first, second = encoder.encode_passages(["one", "two"], [ENGLISH, ENGLISH])
    corpus = fakes.corpus("one", "two")
    narrow = replace(second, vectors=second.vectors[:, :4])
    broken = replace(second, vectors=np.full_like(second.vectors, np.nan))
    bare = replace(second, vectors=second.vectors[:0], tokens=(), kinds=(), offsets=second.offsets[:0])
    for items, message in [
        ([first], "2 passages came with 1"),
        ([second, first], "'p0' are of another text"),
        ([first, narrow], "'p1' has dim 4, those before it 16"),
        ([first, broken], "'p1' has embeddings that are not finite"),
        ([first, bare], "'p1' has no token"),
    ]:
        with pytest.raises(XmError, match=message):
            build_flat(corpus, items, model="m", revision="r")


def test_neighbours_equal_the_slow_ones_and_begin_with_the_row_itself() -> None:
    index, _ = random_index(n_passages=30)
    vectors = index.vectors
    ids, cosines = neighbors.nearest(vectors, 5)
    slow = np.sort(vectors @ vectors.T, axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(np.sort(cosines, axis=1)[:, ::-1], slow, atol=1e-6)
    np.testing.assert_array_equal(ids[:, 0], np.arange(len(vectors)))
    np.testing.assert_allclose(np.take_along_axis(vectors @ vectors.T, ids, axis=1), cosines, atol=1e-6)


def test_a_row_is_its_own_first_neighbour_even_among_many_duplicates() -> None:
    vectors = np.tile(np.eye(4, dtype=np.float32)[:1], (20, 1))
    ids, cosines = neighbors.nearest(vectors, 5)
    np.testing.assert_array_equal(ids[:, 0], np.arange(20))
    assert all(len(set(row)) == 5 for row in ids.tolist())
    np.testing.assert_allclose(cosines, 1.0)


def test_no_more_neighbours_are_given_than_there_are_rows() -> None:
    ids, cosines = neighbors.nearest(np.eye(3, dtype=np.float32), 15)
    assert ids.shape == cosines.shape == (3, 3)


def test_maxsim_is_the_truth_the_index_is_held_to() -> None:
    index, rows = random_index(n_passages=10, seed=4)
    assert index.score_all(rows[0]) == pytest.approx([maxsim(rows[0], row) for row in rows], abs=1e-5)
