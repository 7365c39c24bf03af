"""The fast kernel gives the scores of the slow, obvious MaxSim, whatever it is given."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest

from xm.errors import XmError
from xm.index import kernels
from xm.index.kernels import advice, score_passages
from xm.maxsim import maxsim
from xm.options import FLAT_LIMIT_TOKENS


@pytest.fixture(autouse=True, params=["numpy", "compiled"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every corpus one way or the other, however small it is; compiled, in chunks of a few passages."""
    if request.param == "compiled":
        monkeypatch.setattr(kernels, "_SMALL_TOKENS", 0)
        monkeypatch.setattr(kernels, "_CHUNK_TOKENS", 40)


def random_passages(*, n_passages: int, dim: int, longest: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of passages of 1 to `longest` tokens, and where each passage starts."""
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, longest + 1, n_passages)
    vectors = rng.standard_normal((lengths.sum(), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.concatenate([[0], np.cumsum(lengths)])


def slow_scores(query: np.ndarray, vectors: np.ndarray, starts: np.ndarray) -> list[float]:
    return [maxsim(query, vectors[begin:end]) for begin, end in zip(starts[:-1], starts[1:], strict=True)]


def test_an_example_worked_by_hand() -> None:
    # Query tokens along x and y. The first passage holds x and (0.6, 0.8): 1 + 0.8. The second -x and -y, whose best
    # are the right angles: 0 + 0. The third -x alone: -1 + 0, since a negative maximum counts as it is.
    vectors = np.array([[1, 0], [0.6, 0.8], [-1, 0], [0, -1], [-1, 0]], dtype=np.float32)
    scores = score_passages(np.eye(2, dtype=np.float32), vectors, np.array([0, 2, 4, 5]))
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, [1.8, 0, -1], atol=1e-6)


@pytest.mark.parametrize("n_query", [1, 2, 3, 4, 5, 32, 33])
@pytest.mark.parametrize("dim", [1, 7, 64, 128])
def test_every_shape_gives_the_slow_scores(n_query: int, dim: int) -> None:
    vectors, starts = random_passages(n_passages=60, dim=dim)
    query = vectors[5 : 5 + n_query]
    np.testing.assert_allclose(score_passages(query, vectors, starts), slow_scores(query, vectors, starts), atol=1e-5)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_floats(n_threads: int) -> None:
    vectors, starts = random_passages(n_passages=200, dim=16)
    scores = score_passages(vectors[:8], vectors, starts, n_threads=n_threads)
    np.testing.assert_array_equal(scores, score_passages(vectors[:8], vectors, starts, n_threads=3))
    np.testing.assert_allclose(scores, slow_scores(vectors[:8], vectors, starts), atol=1e-5)


def test_two_searches_at_a_time_do_not_mix() -> None:
    vectors, starts = random_passages(n_passages=200, dim=16)
    queries = [vectors[at : at + 4] for at in range(40)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda query: score_passages(query, vectors, starts), queries))
    for query, scores in zip(queries, results, strict=True):
        np.testing.assert_allclose(scores, slow_scores(query, vectors, starts), atol=1e-5)


def test_halves_are_scored_exactly_as_what_they_hold() -> None:
    vectors, starts = random_passages(n_passages=60, dim=16)
    halves = vectors.astype(np.float16)
    scores = score_passages(vectors[:6], halves, starts)
    np.testing.assert_allclose(scores, slow_scores(vectors[:6], halves.astype(np.float32), starts), atol=1e-5)
    assert np.abs(scores - slow_scores(vectors[:6], vectors, starts)).max() > 1e-5  # the rounding shows


def test_bfloat16_is_scored_exactly_as_what_it_holds() -> None:
    vectors, starts = random_passages(n_passages=60, dim=16)
    bits = (vectors.view(np.uint32) >> 16).astype(np.uint16)
    held = (bits.astype(np.uint32) << 16).view(np.float32)
    scores = score_passages(vectors[:6], bits, starts)
    np.testing.assert_allclose(scores, slow_scores(vectors[:6], held, starts), atol=1e-5)


def test_every_finite_half_is_widened_to_its_own_value() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][:, None]
    scores = score_passages(np.ones((1, 1), dtype=np.float32), halves, np.arange(len(halves) + 1))
    np.testing.assert_array_equal(scores, halves[:, 0].astype(np.float64))


def test_equal_passages_get_equal_scores_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_SMALL_TOKENS", 0)  # BLAS adds in another order at the edge of a block
    rng = np.random.default_rng(3)
    parts = [rng.standard_normal((n, 24)).astype(np.float32) for n in rng.integers(1, 20, 50)]
    parts[::7] = [parts[0]] * len(parts[::7])
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    scores = score_passages(rng.standard_normal((9, 24)), np.concatenate(parts), starts)
    assert len(set(scores[::7].tolist())) == 1


def test_one_token_one_passage_and_one_passage_longer_than_a_chunk() -> None:
    query = np.array([[1, 0], [0, -1]], dtype=np.float32)
    np.testing.assert_allclose(score_passages(query, np.array([[-0.6, 0.8]], dtype=np.float32), np.array([0, 1])), -1.4)
    vectors, _ = random_passages(n_passages=40, dim=8)
    starts = np.array([0, 300, 301, len(vectors)])
    np.testing.assert_allclose(
        score_passages(vectors[:4], vectors, starts), slow_scores(vectors[:4], vectors, starts), atol=1e-5
    )


def test_read_only_and_memory_mapped_vectors_are_taken(tmp_path: Path) -> None:
    vectors, starts = random_passages(n_passages=30, dim=8)
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "starts.npy", starts)
    mapped = (np.load(tmp_path / name, mmap_mode="r") for name in ("vectors.npy", "starts.npy"))
    np.testing.assert_array_equal(score_passages(vectors[:5], *mapped), score_passages(vectors[:5], vectors, starts))


def test_another_type_is_refused() -> None:
    with pytest.raises(XmError, match="the vectors are float64; give float32, float16"):
        score_passages(np.ones((1, 2), dtype=np.float32), np.ones((3, 2)), np.array([0, 3]))


def test_without_a_folder_to_write_to_the_kernel_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_with_numba = numba.njit

    def no_locator(*arguments: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_with_numba(*arguments, **options)

    monkeypatch.setattr(numba, "njit", no_locator)
    wide = np.empty((1, 1), dtype=np.float32)
    widen = kernels._compiled.__wrapped__(kernels._widen)
    widen(np.float16([[1.5]]).view(np.uint16), 13, 2.0**112, wide.view(np.uint32), wide)
    assert wide[0, 0] == 1.5


def test_advice_comes_above_the_limit_alone() -> None:
    assert advice(FLAT_LIMIT_TOKENS) is None
    assert "2,500,000 tokens" in advice(2_500_000) and "--kind centroid" in advice(2_500_000)


def test_after_warming_up_nothing_is_left_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.warm_up()
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it would now fail
    vectors, starts = random_passages(n_passages=1_500, dim=16)
    for stored in (vectors, vectors.astype(np.float16)):
        assert len(score_passages(vectors[:3], stored, starts)) == 1_500
