"""The token map: the same seed gives the same picture, and says truly what it shows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import fakes
from xm import token_map
from xm.errors import XmError
from xm.index.flat import FlatIndex, build_flat
from xm.options import MapOptions
from xm.token_map import build_map, lay_out_by_pca
from xm.types import Corpus, LanguageGuess, TokenEmbeddings

ENGLISH = LanguageGuess("en_XX", 1.0, "given")
WORDS = "river bank money loan water boat interest rate fish deposit current account flood plain cash".split()
QUICK = MapOptions(n_epochs=20, n_sample=60)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def index() -> FlatIndex:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 12)) for _ in range(20)]
    codes = ["de_DE" if number % 4 == 0 else "en_XX" for number in range(20)]
    passages = tuple(
        fakes.passage(f"p{n}", text, code) for n, (text, code) in enumerate(zip(texts, codes, strict=True))
    )
    return index_of(passages)


def index_of(passages: tuple) -> FlatIndex:
    encoder = fakes.FakeEncoder()
    items = encoder.encode_passages([p.text for p in passages], [p.language for p in passages])
    return build_flat(Corpus("toy", passages), items, model="fake", revision="r")


@pytest.fixture(scope="module")
def query() -> TokenEmbeddings:
    return fakes.FakeEncoder().encode_query("which bank lends money?", ENGLISH)


def test_points_are_the_querys_the_hits_and_a_sample(index: FlatIndex, query: TokenEmbeddings) -> None:
    found = build_map(index, query, ["p3", "p4"], options=QUICK)
    n_query = len(query.tokens)
    n_hits = sum(len(index.reconstruct(passage_id).tokens) for passage_id in ("p3", "p4"))
    assert found.passage_ids[:n_query] == ("",) * n_query
    assert found.tokens[:n_query] == query.tokens
    assert set(found.passage_ids[n_query : n_query + n_hits]) == {"p3", "p4"}
    assert set(found.passage_ids[n_query + n_hits :]).isdisjoint({"", "p3", "p4"})
    assert len(found.tokens) == n_query + n_hits + 60
    assert found.n_corpus_tokens == index.n_tokens
    assert (found.method, found.seed) == ("pca", 42)
    assert found.xy.shape == (len(found.tokens), 2)
    assert found.xy.dtype == np.float32


def test_every_point_says_truly_what_it_is(index: FlatIndex, query: TokenEmbeddings) -> None:
    found = build_map(index, query, ["p0"], options=QUICK)
    for i, passage_id in enumerate(found.passage_ids):
        item = index.reconstruct(passage_id) if passage_id else query
        place = found.token_indices[i]
        assert (found.tokens[i], found.kinds[i]) == (item.tokens[place], item.kinds[place])
        assert found.languages[i] == item.language.code
        start, end = item.offsets[place].tolist()
        assert item.text[start:end] in found.contexts[i] if start >= 0 else found.contexts[i] == ""
    assert {"en_XX", "de_DE"} == set(found.languages)


def test_no_token_is_drawn_twice(index: FlatIndex, query: TokenEmbeddings) -> None:
    found = build_map(index, query, ["p0", "p1", "p0"], options=MapOptions(n_sample=10_000))
    points = list(zip(found.passage_ids, found.token_indices, strict=True))
    assert len(set(points)) == len(points) == len(query.tokens) + index.n_tokens


def test_the_same_seed_draws_the_same_sample_and_another_one_another(index: FlatIndex) -> None:
    first, again, other = (build_map(index, None, [], options=replace(QUICK, seed=seed)) for seed in (1, 1, 2))
    assert (first.passage_ids, first.token_indices) == (again.passage_ids, again.token_indices)
    np.testing.assert_array_equal(first.xy, again.xy)
    assert (first.passage_ids, first.token_indices) != (other.passage_ids, other.token_indices)


def test_only_the_kinds_asked_for_are_shown_and_counted(index: FlatIndex, query: TokenEmbeddings) -> None:
    found = build_map(index, query, ["p0"], options=MapOptions(kinds=("content",)))
    assert set(found.kinds) == {"content"}
    assert found.n_corpus_tokens == int((index.table.kinds == 0).sum()) < index.n_tokens


def test_context_reaches_thirty_characters_to_either_side_on_one_line() -> None:
    text = "a" * 40 + " left\n\tof the token right of it " + "b" * 40
    item = fakes.FakeEncoder().encode_passages([text], [ENGLISH])[0]
    place = item.tokens.index("▁token")
    context = token_map._context(item, place)
    assert context == "…" + "a" * 16 + " left of the token right of it " + "b" * 17 + "…"
    assert token_map._context(item, 0) == ""


def test_pca_equals_the_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(3).standard_normal((50, 6)).astype(np.float32)
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    slow = centred @ directions[:2].T
    xy = lay_out_by_pca(vectors)
    np.testing.assert_allclose(np.abs(xy), np.abs(slow), atol=1e-4)
    assert xy[:, 0].var() >= xy[:, 1].var()


def test_pca_of_an_example_worked_by_hand() -> None:
    # Spread along (1, 1, 0) first, along z second.
    xy = lay_out_by_pca(np.array([[2, 2, 0], [-2, -2, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float32))
    np.testing.assert_allclose(xy, [[8**0.5, 0], [-(8**0.5), 0], [0, 1], [0, -1]], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (5, 1)])
def test_pca_of_hardly_anything_is_finite(shape: tuple[int, int]) -> None:
    xy = lay_out_by_pca(np.ones(shape, dtype=np.float32))
    assert xy.shape == (shape[0], 2)
    assert np.isfinite(xy).all()


def test_umap_is_the_same_for_the_same_seed_and_is_cached(
    index: FlatIndex, query: TokenEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_map(index, query, ["p0"], options=QUICK, method="umap")
    assert first.method == "umap"
    assert np.isfinite(first.xy).all()
    monkeypatch.setenv("XM_CACHE", "off")
    again = build_map(index, query, ["p0"], options=QUICK, method="umap")
    np.testing.assert_array_equal(first.xy, again.xy)
    other = build_map(index, query, ["p0"], options=replace(QUICK, min_dist=0.5), method="umap")
    assert not np.array_equal(first.xy, other.xy)


def test_a_cached_map_is_not_computed_again(
    index: FlatIndex, query: TokenEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = iter(range(100))
    monkeypatch.setattr(
        token_map, "_fit_umap", lambda vectors, options: np.full((len(vectors), 2), next(places), np.float32)
    )
    first, again = (build_map(index, query, ["p0"], options=QUICK, method="umap") for _ in range(2))
    np.testing.assert_array_equal(first.xy, again.xy)
    other = build_map(index, query, ["p1"], options=QUICK, method="umap")
    longer = build_map(index, query, ["p0"], options=replace(QUICK, n_epochs=30), method="umap")
    assert [map_.xy[0, 0] for map_ in (first, other, longer)] == [0, 1, 2]


def test_umap_keeps_neighbours_together() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(16, dtype=np.float32)[:3].repeat(30, axis=0)
    vectors = centres + 0.05 * rng.standard_normal(centres.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    xy = token_map._fit_umap(vectors, MapOptions(n_epochs=50))
    distances = np.linalg.norm(xy[:, None] - xy[None], axis=2) + np.eye(90) * 1e9
    assert (distances.argmin(axis=1) // 30 == np.arange(90) // 30).all()


@pytest.mark.parametrize("texts", [("one two",), ("same " * 40,) * 10])
def test_too_few_different_tokens_fall_back_to_pca_and_say_so(texts: tuple[str, ...]) -> None:
    passages = tuple(fakes.passage(f"p{n}", text) for n, text in enumerate(texts))
    index = index_of(passages)
    same = replace(index, vectors=np.tile(index.vectors[:1], (index.n_tokens, 1))) if len(texts) > 1 else index
    found = build_map(same, None, ["p0"], method="umap")
    assert found.method == "pca"
    assert np.isfinite(found.xy).all()


def test_what_cannot_be_shown_is_an_error(index: FlatIndex, query: TokenEmbeddings) -> None:
    with pytest.raises(XmError, match="'p99'"):
        build_map(index, query, ["p99"])
    with pytest.raises(XmError, match="no token is of a kind"):
        build_map(index, query, ["p0"], options=MapOptions(kinds=()))
    with pytest.raises(XmError, match="dim 3, the index 16"):
        build_map(index, replace(query, vectors=query.vectors[:, :3]), ["p0"])


def test_warming_up_does_no_harm() -> None:
    token_map.warm_up()


def test_the_last_points_are_the_sample_of_the_corpus(index: FlatIndex, query: TokenEmbeddings) -> None:
    found = build_map(index, query, ["p3", "p4"], options=QUICK, method="pca")
    assert found.n_sample == QUICK.n_sample
    sample = found.passage_ids[-found.n_sample :]
    assert not {"", "p3", "p4"} & set(sample)
    assert set(found.passage_ids[: -found.n_sample]) == {"", "p3", "p4"}
