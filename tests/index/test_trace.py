"""A search can be asked what it did, and the answer is what the search did."""

import json

import numpy as np
import pytest

from tests.index import made
from tests.index.test_centroid import without
from xm.errors import XmError
from xm.index.centroid import CentroidIndex
from xm.index.members import centroid_tokens
from xm.index.trace import trace
from xm.index.why import why
from xm.maxsim import maxsim
from xm.options import SearchOptions

OPTIONS = SearchOptions(n_probe=3, n_candidates=20, n_exact=12)


@pytest.fixture(scope="module")
def index() -> CentroidIndex:
    """200 passages of up to 6 tokens at 60 centroids, one of the passages deleted."""
    return without(made.index_of(made.clustered(n_passages=200, longest=6), n_centroids=60), "p9")


@pytest.fixture(scope="module")
def query(index: CentroidIndex) -> np.ndarray:
    tokens = [index.reconstruct(f"p{number}").vectors[0] for number in range(4)]
    # The last token is like the first, so that both find some of the same passages.
    return made.query_like(np.stack([*tokens, tokens[0]]), noise=0.3)


def owners_of(index: CentroidIndex, centroid_ids: list[int]) -> set[str]:
    """The passages with a token at one of the centroids."""
    found = set()
    for place, passage in enumerate(index.corpus.passages):
        held = index.codes.centroid_ids[index.table.rows_of(place)].tolist()
        if set(held) & set(centroid_ids):
            found.add(passage.passage_id)
    return found


def test_a_trace_tells_of_each_query_tokens_centroids_and_what_they_brought(
    index: CentroidIndex, query: np.ndarray
) -> None:
    before: set[str] = set()
    for token, vector in zip(trace(index, query, k=5, options=OPTIONS).tokens, query, strict=True):
        cosines = index.codec.centroids @ vector
        order = np.argsort(-cosines).tolist()
        assert [centroid.centroid_id for centroid in token.centroids] == order[:3]
        assert [centroid.score for centroid in token.centroids] == pytest.approx(cosines[order[:3]], abs=1e-6)
        assert token.missing == pytest.approx(cosines[order[3]], abs=1e-6)
        sizes = [len(owners_of(index, [centroid_id])) for centroid_id in order[:3]]
        assert [centroid.n_listed for centroid in token.centroids] == sizes
        found = owners_of(index, order[:3])
        assert (token.n_found, token.n_gained) == (len(found), len(found - before))
        before |= found
    assert any(token.n_gained < token.n_found for token in trace(index, query, k=5, options=OPTIONS).tokens)


def test_a_traces_stages_pass_on_what_they_let_out(index: CentroidIndex, query: np.ndarray) -> None:
    told = trace(index, query, k=5, options=OPTIONS)
    probe, candidates, keep, centroids, exact = told.stages
    assert [stage.name for stage in told.stages] == ["probe", "candidates", "keep", "centroids", "exact"]
    assert (probe.n_in, probe.n_out) == (60, len({c.centroid_id for token in told.tokens for c in token.centroids}))
    assert (candidates.n_in, candidates.n_out) == (199, sum(token.n_gained for token in told.tokens))
    assert (keep.n_in, keep.n_out) == (candidates.n_out, 20)
    assert (centroids.n_in, centroids.n_out) == (20, 12)
    assert (exact.n_in, exact.n_out) == (12, 5)
    assert all(stage.seconds >= 0 for stage in told.stages)


def test_a_traces_hits_are_the_searchs_with_both_scores(index: CentroidIndex, query: np.ndarray) -> None:
    told, hits = trace(index, query, k=5, options=OPTIONS), index.search(query, k=5, options=OPTIONS)
    assert [(hit.passage_id, hit.rank, hit.score) for hit in told.hits] == [
        (hit.passage_id, hit.rank, hit.score) for hit in hits
    ]
    stages = index.stages(query, k=5, options=OPTIONS)
    for hit in told.hits:
        ranked = ((stages.candidates, hit.approximate_rank, hit.approximate),)
        ranked += ((stages.kept, hit.by_centroids_rank, hit.by_centroids),)
        for some, rank, score in ranked:
            at = np.lexsort((some.places, -some.scores))[rank - 1]
            assert some.places[at] == index.table.live[index.place_of(hit.passage_id)]
            assert some.scores[at] == pytest.approx(score)


def test_pruned_centroids_bring_nothing(index: CentroidIndex, query: np.ndarray) -> None:
    told = trace(index, query, k=5, options=SearchOptions(n_probe=5, centroid_threshold=0.6))
    pruned = [centroid.pruned for token in told.tokens for centroid in token.centroids]
    assert any(pruned)
    assert not all(pruned)
    for token in told.tokens:
        read = [centroid.centroid_id for centroid in token.centroids if not centroid.pruned]
        assert token.n_found == len(owners_of(index, read))


def test_why_agrees_with_the_search_for_every_passage(index: CentroidIndex, query: np.ndarray) -> None:
    stages = index.stages(query, k=5, options=OPTIONS)
    ranks = {hit.passage_id: hit.rank for hit in stages.hits}
    outcomes = set()
    for place, passage in enumerate(index.corpus.passages):
        told = why(index, query, passage.passage_id, k=5, options=OPTIONS)
        stored = index.table.live[place]
        expected = (
            "hit"
            if passage.passage_id in ranks
            else "not among the hits"
            if stored in stages.scored.places
            else "not scored"
            if stored in stages.kept.places
            else "not kept"
            if stored in stages.candidates.places
            else "not probed"
        )
        assert told.outcome == expected
        assert (told.rank or 0) == pytest.approx(ranks.get(passage.passage_id, told.rank or 0))
        assert told.score == maxsim(query, index.reconstruct(passage.passage_id).vectors)
        assert (told.nearest.number <= 3) == (expected != "not probed")
        outcomes.add(expected)
    assert outcomes == {"hit", "not among the hits", "not scored", "not kept", "not probed"}


def test_ranks_beyond_the_hits_go_on_where_these_end(index: CentroidIndex, query: np.ndarray) -> None:
    far = {hit.passage_id: hit.rank for hit in index.search(query, k=12, options=OPTIONS)}
    for passage_id, rank in far.items():
        assert why(index, query, passage_id, k=5, options=OPTIONS).rank == rank


def test_the_sentences_say_where_a_passage_fell_out(index: CentroidIndex, query: np.ndarray) -> None:
    said: dict[str, str] = {}
    for passage in index.corpus.passages:
        told = why(index, query, passage.passage_id, k=5, options=OPTIONS)
        said.setdefault(told.outcome, told.sentence)
        assert json.loads(json.dumps(told.to_dict()))["sentence"] == told.sentence
    assert said["hit"].startswith("Rank ")
    assert "12 passages scored; 5 were asked for" in said["not among the hits"]
    assert "and 20 were kept" in said["not kept"]
    assert "of 20, and 12 were scored exactly" in said["not scored"]
    assert "None of its tokens lies in a probed centroid; its nearest was number" in said["not probed"]
    assert "of n_probe 3" in said["not probed"]


def test_a_threshold_is_named_where_it_is_the_reason(index: CentroidIndex, query: np.ndarray) -> None:
    options = SearchOptions(n_probe=60, centroid_threshold=0.99)
    told = why(index, query, "p100", k=5, options=options)
    assert told.outcome == "pruned"
    assert "below the threshold 0.99 for every query token" in told.sentence


def test_a_passage_that_probing_lost_is_told_the_rank_it_deserves() -> None:
    # The passage's only token lies at the centroid number 2, and its score is the best all the same.
    passages = made.clustered(n_passages=300, longest=1)
    index = made.index_of(passages, n_centroids=40, n_bits=8)
    wide, narrow = SearchOptions(n_probe=40, n_candidates=300, n_exact=300), SearchOptions(n_probe=1)
    lost = 0
    for seed in range(40):
        query = made.unit(np.random.default_rng(seed).standard_normal((1, 16)))
        best = index.search(query, k=1, options=wide)[0]
        told = why(index, query, best.passage_id, k=1, options=narrow)
        if told.outcome == "not probed":
            lost += 1
            assert told.would_be_rank == 1
            assert f"Its score, {best.score:.2f}, deserves rank 1." in told.sentence
    assert lost


def test_a_trace_is_ready_for_json(index: CentroidIndex, query: np.ndarray) -> None:
    told = trace(index, query, k=5, options=OPTIONS)
    back = json.loads(json.dumps(told.to_dict()))
    assert back["options"] == {"n_probe": 3, "n_candidates": 20, "n_exact": 12, "centroid_threshold": None}
    assert len(back["tokens"]) == len(query)
    assert back["hits"][0]["passage_id"] == told.hits[0].passage_id


def test_a_centroids_tokens_come_by_language_in_their_context(index: CentroidIndex) -> None:
    centroid_id = int(index.codes.centroid_ids[index.table.starts[9]])  # of the deleted passage
    shown = centroid_tokens(index, centroid_id, n=2)
    rows = np.flatnonzero(index.codes.centroid_ids == centroid_id).tolist()
    stored = [int(np.searchsorted(index.table.starts, row, side="right")) - 1 for row in rows]
    codes = [made.CODES[place % 3] for place in stored if place != 9]
    assert shown.n_tokens == {code: codes.count(code) for code in codes}
    assert list(shown.n_tokens.values()) == sorted(shown.n_tokens.values(), reverse=True)
    for code, members in shown.members.items():
        assert len(members) == min(2, codes.count(code))
        assert [m.cosine for m in members] == sorted((m.cosine for m in members), reverse=True)
        for member in members:
            embeddings = index.reconstruct(member.passage_id)
            assert embeddings.tokens[member.token_index] == member.token == member.inside
            assert member.before + member.inside + member.after in embeddings.text
            assert embeddings.vectors[member.token_index] @ index.codec.centroids[centroid_id] == pytest.approx(
                member.cosine
            )
    json.dumps(shown.to_dict())


@pytest.mark.parametrize(("centroid_id", "n"), [(-1, 5), (60, 5), (0, 0)])
def test_a_centroid_that_is_not_there_is_an_error(index: CentroidIndex, centroid_id: int, n: int) -> None:
    with pytest.raises(XmError, match="centroid_id is"):
        centroid_tokens(index, centroid_id, n=n)
