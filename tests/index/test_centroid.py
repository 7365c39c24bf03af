"""The centroid index finds what it should, and with every list read it equals a flat index of the decoded vectors."""

from dataclasses import replace

import numpy as np
import pytest

from tests.index import made
from xm.errors import XmError
from xm.index import lists, stages
from xm.index.centroid import CentroidIndex, build_centroid
from xm.index.codec import Codec, decode
from xm.index.flat import FlatIndex
from xm.index.lists import InvertedLists, lists_of
from xm.index.stages import (
    Candidates,
    compare_centroids,
    find_candidates,
    keep_best,
    probe_centroids,
    score_by_centroids,
)
from xm.maxsim import maxsim
from xm.options import CodecOptions, SearchOptions
from xm.types import Codes, Corpus

EVERYTHING = SearchOptions(n_probe=100_000, n_candidates=100_000, n_exact=100_000)


def without(index: CentroidIndex, *ids: str) -> CentroidIndex:
    """The index with passages deleted."""
    left = [place for place, passage in enumerate(index.corpus.passages) if passage.passage_id not in ids]
    corpus = Corpus("made", tuple(index.corpus.passages[place] for place in left))
    return replace(index, table=replace(index.table, corpus=corpus, live=index.table.live[left]))


def slow_candidates(index: CentroidIndex, query: np.ndarray, n_probe: int) -> dict[str, float]:
    """Approximate scores by the definition, passage by passage."""
    found = {}
    cells = [[float(q @ c) for c in index.codec.centroids] for q in query]
    for passage in index.corpus.passages:
        rows = index.table.rows_of(index.place_of(passage.passage_id))
        mine = set(index.codes.centroid_ids[rows].tolist())
        score, is_found = 0.0, False
        for row in cells:
            order = sorted(range(len(row)), key=lambda c: -row[c])
            probed = mine & set(order[:n_probe])
            is_found |= bool(probed)
            score += max(row[c] for c in probed) if probed else row[order[n_probe]]
        if is_found:
            found[passage.passage_id] = score
    return found


@pytest.mark.parametrize("n_bits", [1, 2, 4, 8])
def test_with_every_list_read_it_equals_flat_on_the_decoded_vectors(n_bits: int) -> None:
    passages = made.clustered(n_passages=150)
    index = made.index_of(passages, n_bits=n_bits)
    flat = FlatIndex(index.table, decode(index.codec, index.codes))
    for seed in range(5):
        query = made.query_like(passages[seed * 7], seed=seed)
        hits, flat_hits = index.search(query, k=150, options=EVERYTHING), flat.search(query, k=150)
        assert [(hit.passage_id, hit.rank) for hit in hits] == [(hit.passage_id, hit.rank) for hit in flat_hits]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in flat_hits], abs=1e-5)
        np.testing.assert_allclose(index.score_all(query), flat.score_all(query), atol=1e-5)
        assert not any(hit.exact for hit in hits)


@pytest.mark.parametrize("n_probe", [1, 2, 5])
def test_candidates_and_their_scores_are_those_of_the_definition(n_probe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "BLOCK_PASSAGES", 7)
    monkeypatch.setattr(stages, "BLOCK_PASSAGES", 7)
    passages = made.clustered(n_passages=60)
    index = made.index_of(passages, n_centroids=30)
    query = made.query_like(passages[5][:3])
    found = index.stages(query, k=1, options=SearchOptions(n_probe=n_probe)).candidates
    ids = [f"p{stored}" for stored in found.places.tolist()]
    assert dict(zip(ids, found.scores.tolist(), strict=True)) == pytest.approx(
        slow_candidates(index, query, n_probe), abs=1e-5
    )


def test_an_approximate_score_worked_by_hand() -> None:
    # Centroids x and y. p0 has a token at each, p1 one at x. The query (0.8, 0.6) probes x alone: both get 0.8. With
    # both probed the same holds, as 0.8 is the better; the query (0, 1) gives p0 1 and p1 0, its only centroid's.
    codec = Codec(np.eye(2, dtype=np.float32), np.zeros(15, np.float32), np.zeros(16, np.float32), 4)
    parts = [lists_of(np.array([0, 1, 0]), np.array([0, 2, 3]), n_centroids=2)]
    live = np.ones(2, dtype=bool)
    for vector, n_probe, places, scores in [
        ([0.8, 0.6], 1, [0, 1], [0.8, 0.8]),
        ([0.8, 0.6], 2, [0, 1], [0.8, 0.8]),
        ([0.0, 1.0], 1, [0], [1.0]),
        ([0.0, 1.0], 2, [0, 1], [1.0, 0.0]),
    ]:
        cells = compare_centroids(codec, np.array([vector], np.float32), np.ones(2, dtype=bool))
        probe = probe_centroids(cells, 2, SearchOptions(n_probe=n_probe))
        candidates = find_candidates(parts, probe, live)
        assert candidates.places.tolist() == places
        assert candidates.scores.tolist() == pytest.approx(scores)


def test_reading_every_list_gives_maxsim_over_the_centroids() -> None:
    passages = made.clustered(n_passages=40)
    index = made.index_of(passages)
    query = made.query_like(passages[3])
    found = index.stages(query, k=1, options=EVERYTHING).candidates
    decoded = index.codec.centroids[index.codes.centroid_ids]
    slow = [maxsim(query, decoded[index.table.rows_of(place)]) for place in range(40)]
    np.testing.assert_allclose(found.scores, slow, atol=1e-5)


def test_lists_name_each_passage_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    starts = np.concatenate([[0], np.cumsum(rng.integers(1, 6, 50))])
    ids = rng.integers(0, 9, starts[-1]).astype(np.uint16)
    owners = np.repeat(np.arange(50), np.diff(starts))
    slow = {c: sorted({int(owner) for owner, held in zip(owners, ids, strict=True) if held == c}) for c in range(12)}
    for block in (1, 8, 50, 2**16):
        monkeypatch.setattr(lists, "BLOCK_PASSAGES", block)
        made_lists = lists_of(ids, starts, n_centroids=12, first_passage=100)
        assert made_lists.starts.shape == (-(-50 // block) if block < 50 else 1, 13)
        assert made_lists.lengths().tolist() == [len(slow[c]) for c in range(12)]
        for centroid_id, places in slow.items():
            assert (made_lists.passages_of(centroid_id) - 100).tolist() == places


def test_lists_and_codes_stay_within_36_bytes_a_token() -> None:
    # 128 dimensions at 2 bits; every passage's tokens at different centroids, the longest lists there can be.
    starts = np.arange(0, 200_001, 50)
    ids = (np.arange(200_000) % 4_096).astype(np.uint16)
    inverted = lists_of(ids, starts, n_centroids=4_096)
    assert len(inverted.passages) == 200_000
    assert 32 + ids.itemsize + inverted.passages.nbytes / 200_000 <= 36


def test_passages_may_lie_in_several_parts_of_lists() -> None:
    passages = made.clustered(n_passages=50)
    whole = made.index_of(passages)
    rows = whole.table.starts[30]
    ids, n_centroids = whole.codes.centroid_ids, whole.codec.n_centroids
    base = lists_of(ids[:rows], whole.table.starts[:31], n_centroids=n_centroids)
    tail_starts = whole.table.starts[30:] - rows
    tail = lists_of(ids[rows:], tail_starts, n_centroids=n_centroids, first_passage=30)
    parts: tuple[InvertedLists, ...] = (base, tail)
    query = made.query_like(passages[40])
    assert replace(whole, lists=parts).search(query, k=20) == whole.search(query, k=20)


def test_a_deleted_passage_is_never_found() -> None:
    passages = made.clustered(n_passages=30)
    index = without(made.index_of(passages), "p4", "p29")
    query = made.query_like(passages[4])
    hits = index.search(query, k=30, options=EVERYTHING)
    assert {hit.passage_id for hit in hits} == {f"p{i}" for i in range(30)} - {"p4", "p29"}
    assert hits[0].score == maxsim(query, index.reconstruct(hits[0].passage_id).vectors)
    assert (index.n_passages, len(index.score_all(query))) == (28, 28)
    assert index.n_tokens == sum(map(len, passages)) - len(passages[4]) - len(passages[29])


def test_a_hits_score_is_the_very_float_of_its_alignment_with_the_decoded_passage() -> None:
    passages = made.clustered(n_passages=80)
    index = made.index_of(passages)
    query = made.query_like(passages[0])
    for hit in index.search(query, k=10):
        assert hit.score == maxsim(query, index.reconstruct(hit.passage_id).vectors)


def test_passages_like_the_query_come_first_with_the_default_options() -> None:
    passages = made.clustered(n_passages=400, dim=32, n_kinds=300, longest=20)
    index = made.index_of(passages, n_bits=4)
    long_ones = [place for place, vectors in enumerate(passages) if len(vectors) > 8][:20]
    for place in long_ones:
        assert index.search(made.query_like(passages[place], noise=0.02), k=1)[0].passage_id == f"p{place}"


def test_a_query_unlike_everything_has_negative_scores() -> None:
    passages = [made.unit(np.abs(vectors)) for vectors in made.clustered(n_passages=30)]
    index = made.index_of(passages, n_bits=8)
    query = made.unit(-np.ones((4, 16)))
    hits = index.search(query, k=30, options=EVERYTHING)
    slow = {f"p{i}": sum(max(float(q @ p) for p in vectors) for q in query) for i, vectors in enumerate(passages)}
    assert len(hits) == 30
    assert all(hit.score < 0 for hit in hits)
    assert {hit.passage_id: hit.score for hit in hits} == pytest.approx(slow, abs=0.02)


def test_nothing_sticks_from_one_search_to_the_next() -> None:
    passages = made.clustered(n_passages=100)
    index = made.index_of(passages)
    query = made.query_like(passages[1])
    before = index.search(query, k=100)
    index.search(query, k=1, options=SearchOptions(n_probe=1, n_candidates=1, n_exact=1))
    assert index.search(query, k=100) == before


@pytest.mark.parametrize("n_candidates", [1, 5])
def test_more_hits_than_candidates_kept_or_passages_gives_as_many_as_are_found(n_candidates: int) -> None:
    passages = made.clustered(n_passages=12)
    index = made.index_of(passages)
    query = made.query_like(passages[0])
    options = SearchOptions(n_probe=10_000, n_candidates=n_candidates)
    assert [hit.rank for hit in index.search(query, k=500, options=options)] == list(range(1, 13))
    few = index.stages(query[:1], k=500, options=SearchOptions(n_probe=1))
    assert len(few.hits) == len(few.candidates.places) < 12


def test_a_threshold_leaves_out_centroids_unlike_every_query_token() -> None:
    passages = made.clustered(n_passages=60)
    index = made.index_of(passages)
    query = made.query_like(passages[2])
    # A product with another memory layout may differ in its last bits.
    cosines = (query @ index.codec.centroids.T).max(axis=0)
    found = index.stages(query, k=5, options=SearchOptions(n_probe=10_000, centroid_threshold=0.5)).candidates
    wanted = [
        place for place in range(60) if (cosines[index.codes.centroid_ids[index.table.rows_of(place)]] >= 0.5).any()
    ]
    assert found.places.tolist() == wanted
    assert 0 < len(wanted) < 60
    assert index.search(query, k=5, options=SearchOptions(centroid_threshold=1.0)) == ()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_of_equal_candidates_those_stored_first_are_kept(n: int) -> None:
    candidates = Candidates(np.array([2, 3, 5, 7, 8]), np.array([1.0, 3.0, 1.0, 1.0, 2.0], np.float32))
    kept = keep_best(candidates, n)
    assert kept.places.tolist() == sorted([3, 8, 2, 5, 7][:n])
    assert [candidates.rank_of(place) for place in (3, 8, 2, 5, 7, 4, 9)] == [1, 2, 3, 4, 5, None, None]


@pytest.mark.parametrize("block", [1, 5, 64, 10_000])
def test_scores_by_centroids_are_maxsim_over_all_of_them(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_BLOCK_TOKENS", block)
    passages = made.clustered(n_passages=40)
    index = made.index_of(passages, n_centroids=20)
    query = 3 * made.query_like(passages[3])  # longer than unit vectors: no cosine may overflow
    kept = index.stages(query, k=1, options=SearchOptions(n_probe=2, n_candidates=15)).kept
    decoded = index.codec.centroids[index.codes.centroid_ids]
    slow = [maxsim(query, decoded[index.table.rows_of(place)]) for place in kept.places.tolist()]
    assert len(slow) == 15
    np.testing.assert_allclose(kept.scores, slow, atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_a_score_by_centroids_worked_by_hand() -> None:
    # Query tokens (1, 0) and (0, 1), centroids x, -x and y. A passage at -x alone: -1 + 0. One at -x and y: 0 + 1.
    # A fourth centroid has no passage, so its cosines are minus infinity.
    cells = np.array([[1, -1, 0, -np.inf], [0, 0, 1, -np.inf]], np.float32)
    scores = score_by_centroids(cells, np.array([1, 1, 1, 2]), np.array([[0, 2], [2, 4]]))
    assert scores.tolist() == pytest.approx([-1, 1])


@pytest.mark.parametrize("n_exact", [1, 7, 15])
def test_those_best_by_all_their_centroids_are_scored_exactly(n_exact: int) -> None:
    passages = made.clustered(n_passages=80)
    index = made.index_of(passages, n_centroids=20)
    options = SearchOptions(n_probe=2, n_candidates=15, n_exact=n_exact)
    seen = index.stages(made.query_like(passages[3]), k=1, options=options)
    order = np.lexsort((seen.kept.places, -seen.kept.scores))
    assert seen.scored.places.tolist() == sorted(seen.kept.places[order[:n_exact]].tolist())
    assert len(seen.exact) == n_exact


@pytest.mark.parametrize("block", [1, 5, 64, 10_000])
def test_every_block_size_gives_the_same_scores(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_BLOCK_TOKENS", block)
    passages = made.clustered(n_passages=40)
    index = made.index_of(passages)
    query = made.query_like(passages[9])
    slow = [maxsim(query, index.reconstruct(f"p{place}").vectors) for place in range(40)]
    np.testing.assert_allclose(index.score_all(query), slow, atol=1e-5)


@pytest.mark.parametrize("passages", [[np.eye(8, dtype=np.float32)[:1]], [np.eye(8, dtype=np.float32)[:5]]])
def test_one_passage_and_one_token_are_a_corpus(passages: list[np.ndarray]) -> None:
    index = made.index_of(passages)
    (hit,) = index.search(passages[0], k=10)
    assert (hit.passage_id, hit.rank) == ("p0", 1)


def test_identical_passages_have_equal_scores_and_come_by_id() -> None:
    passages = [made.clustered(n_passages=1, seed=3)[0]] * 40
    index = made.index_of(passages)
    hits = index.search(passages[0], k=5)
    assert len({hit.score for hit in hits}) == 1
    assert [hit.passage_id for hit in hits] == sorted(f"p{i}" for i in range(40))[:5]


@pytest.mark.parametrize(
    ("query", "k", "options", "message"),
    [
        (np.ones((2, 16)), 0, SearchOptions(), "k is 0"),
        (np.ones((2, 16)), 1, SearchOptions(n_probe=0), "n_probe is 0"),
        (np.ones((2, 16)), 1, SearchOptions(n_candidates=0), "n_candidates 0"),
        (np.ones((2, 16)), 1, SearchOptions(n_exact=0), "n_exact 0"),
        (np.ones((2, 16)), 1, SearchOptions(centroid_threshold=1.5), "centroid_threshold is 1.5"),
        (np.ones((2, 8)), 1, SearchOptions(), "encode the query"),
        (np.ones((0, 16)), 1, SearchOptions(), "encode the query"),
        (np.full((2, 16), np.nan), 1, SearchOptions(), "encode the query"),
    ],
)
def test_a_search_that_makes_no_sense_is_an_error(
    query: np.ndarray, k: int, options: SearchOptions, message: str
) -> None:
    index = made.index_of(made.clustered(n_passages=5))
    with pytest.raises(XmError, match=message):
        index.search(query.astype(np.float32), k=k, options=options)


def test_embeddings_must_be_as_many_as_the_tables_tokens() -> None:
    passages = made.clustered(n_passages=5)
    with pytest.raises(XmError, match="17 embeddings came with a table of 18"):
        build_centroid(made.table_for(passages), np.concatenate(passages)[1:], options=CodecOptions())


def test_an_unknown_id_is_an_error_that_names_near_ones() -> None:
    index = made.index_of(made.clustered(n_passages=12))
    with pytest.raises(XmError, match="'p111'.*'p11'"):
        index.reconstruct("p111")


def test_a_passage_comes_back_decoded_with_its_text() -> None:
    passages = made.clustered(n_passages=9)
    index = made.index_of(passages, n_bits=8)
    back = index.reconstruct("p3")
    assert back.text == index.corpus.passages[3].text
    assert (back.vectors * passages[3]).sum(axis=1).min() > 0.99
    rows = index.table.rows_of(3)
    codes = Codes(index.codes.centroid_ids[rows], index.codes.residuals[rows])
    np.testing.assert_array_equal(back.vectors, decode(index.codec, codes))
