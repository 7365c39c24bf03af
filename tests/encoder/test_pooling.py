"""Pooling of token embeddings: worked by hand, its properties, and a slow clustering beside the fast one."""

import itertools

import numpy as np
import pytest

from xm.encoder.pooling import pool_tokens, pool_vector
from xm.types import LanguageGuess, TokenEmbeddings

ENGLISH = LanguageGuess("en_XX", 1.0, "given")


def embedded(vectors: np.ndarray) -> TokenEmbeddings:
    n_tokens = len(vectors)
    return TokenEmbeddings(
        text="x" * n_tokens,
        vectors=vectors.astype(np.float32),
        tokens=tuple(f"t{index}" for index in range(n_tokens)),
        offsets=np.array([(index, index + 1) for index in range(n_tokens)], np.int32).reshape(n_tokens, 2),
        kinds=("marker", *("content",) * (n_tokens - 1))[:n_tokens],
        language=ENGLISH,
    )


def at_angles(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def random_unit(n_tokens: int, seed: int, dim: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n_tokens, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def slow_ward(vectors: np.ndarray, n_clusters: int) -> set[frozenset[int]]:
    """Ward on 1 - cosine by Lance and Williams' update: merge the two nearest until n_clusters are left."""
    groups = {index: frozenset([index]) for index in range(len(vectors))}
    distance = {
        frozenset(pair): 1 - float(vectors[pair[0]] @ vectors[pair[1]]) for pair in itertools.combinations(groups, 2)
    }
    for new in range(len(vectors), 2 * len(vectors) - n_clusters):
        nearest = min(distance, key=distance.get)
        left, right = nearest
        between, one, two = distance.pop(nearest), groups.pop(left), groups.pop(right)
        for other, third in groups.items():
            to_one, to_two = distance.pop(frozenset((left, other))), distance.pop(frozenset((right, other)))
            a, b, n = len(one), len(two), len(third)
            squared = ((a + n) * to_one**2 + (b + n) * to_two**2 - n * between**2) / (a + b + n)
            distance[frozenset((new, other))] = squared**0.5
        groups[new] = one | two
    return set(groups.values())


def test_one_vector_worked_by_hand() -> None:
    text = embedded(at_angles(0, 90))
    half = 0.5**0.5
    assert np.allclose(pool_vector(text, "mean"), [half, half], atol=1e-7)
    assert np.allclose(pool_vector(text, "max"), [half, half], atol=1e-7)
    assert np.allclose(pool_vector(text, "cls"), [1, 0], atol=1e-7)
    mixed = embedded(np.array([[-1.0, 0.0], [0.0, -1.0]]))
    assert np.allclose(pool_vector(mixed, "mean"), [-half, -half], atol=1e-7)
    with pytest.raises(ValueError, match="cancel each other out"):
        pool_vector(mixed, "max")  # the greatest of (-1, 0) and (0, -1) is 0 in both dimensions


def test_opposite_vectors_and_empty_texts_have_no_mean() -> None:
    with pytest.raises(ValueError, match="cancel each other out"):
        pool_vector(embedded(at_angles(0, 180)), "mean")
    with pytest.raises(ValueError, match="without scored tokens"):
        pool_vector(embedded(np.zeros((0, 2))), "mean")


def test_token_pooling_worked_by_hand() -> None:
    pooled = pool_tokens(embedded(at_angles(50, 0, 90, 10, 80)), factor=2)
    assert pooled.groups == ((0,), (1, 3), (2, 4))
    assert np.allclose(pooled.embeddings.vectors, at_angles(50, 5, 85), atol=1e-6)
    assert pooled.embeddings.tokens == ("t0", "t1+t3", "t2+t4")
    assert pooled.embeddings.offsets.tolist() == [[0, 1], [-1, -1], [-1, -1]]
    assert pooled.embeddings.kinds == ("marker", "content", "content")


def test_without_protection_the_first_token_is_merged_too() -> None:
    assert pool_tokens(embedded(at_angles(0, 1, 90, 91)), factor=2, n_protected=0).groups == ((0, 1), (2, 3))


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_equal_a_slow_wards(factor: int, seed: int) -> None:
    vectors = random_unit(14, seed)
    groups = pool_tokens(embedded(vectors), factor=factor).groups
    slow = slow_ward(vectors[1:], 13 // factor)
    assert {frozenset(group) for group in groups[1:]} == {frozenset(index + 1 for index in group) for group in slow}


@pytest.mark.parametrize("n_tokens", [0, 1, 2, 3, 40])
@pytest.mark.parametrize("factor", [1, 2, 3, 100])
def test_every_token_is_in_one_group_and_rows_are_unit(n_tokens: int, factor: int) -> None:
    text = embedded(random_unit(n_tokens, 7))
    pooled = pool_tokens(text, factor=factor)
    assert sorted(itertools.chain(*pooled.groups)) == list(range(n_tokens))
    assert len(pooled.groups) <= min(n_tokens, 1 + max((n_tokens - 1) // factor, 1))
    assert np.allclose(np.linalg.norm(pooled.embeddings.vectors, axis=1), 1, atol=1e-6)
    if factor == 1:
        assert np.allclose(pooled.embeddings.vectors, text.vectors, atol=1e-6)
        assert np.array_equal(pooled.embeddings.offsets, text.offsets)


def test_equal_tokens_merge_into_themselves() -> None:
    pooled = pool_tokens(embedded(np.repeat(random_unit(1, 3), 9, axis=0)), factor=3)
    assert np.allclose(pooled.embeddings.vectors, random_unit(1, 3), atol=1e-6)


@pytest.mark.parametrize(("factor", "n_protected"), [(0, 1), (2, -1)])
def test_senseless_arguments_are_refused(factor: int, n_protected: int) -> None:
    with pytest.raises(ValueError, match="from 1 and n_protected from 0"):
        pool_tokens(embedded(random_unit(4, 0)), factor=factor, n_protected=n_protected)
