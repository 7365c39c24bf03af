"""Lexical initialisation on toy data with known answers."""

import numpy as np

from xm.train.lexicon import cooccurrence_embeddings, translate_embeddings, translation_table

CHAT, CHIEN, DORT, CAT, DOG, SLEEPS = range(6)


def test_model_1_learns_that_the_shared_piece_translates_to_the_shared_piece():
    pairs = [(np.array([CHAT, DORT]), np.array([CAT, SLEEPS])), (np.array([CHIEN, DORT]), np.array([DOG, SLEEPS]))]
    table = translation_table(pairs, n_pieces=6, n_iter=20).toarray()
    assert table[CHAT].argmax() == CAT
    assert table[CHIEN].argmax() == DOG
    assert table[DORT].argmax() == SLEEPS
    assert np.isclose(table.sum(), 4)  # every English token was explained once


def test_pieces_that_stand_in_the_same_places_get_near_vectors():
    generator = np.random.default_rng(0)
    frames = [(6, CAT, 7), (6, DOG, 7), (8, SLEEPS, 9)]
    sentences = [np.array(frames[generator.integers(3)]) for _ in range(300)]
    vectors = cooccurrence_embeddings(sentences, n_pieces=12, dim=4)
    assert vectors[CAT] @ vectors[DOG] > vectors[CAT] @ vectors[SLEEPS] + 0.3
    assert not vectors[10].any()  # never seen


def test_a_rotated_space_is_rotated_back_for_pieces_without_a_translation():
    generator = np.random.default_rng(1)
    n, dim = 400, 8
    english = generator.normal(size=(2 * n, dim)).astype(np.float32)
    english[:n] = 0
    english /= np.maximum(np.linalg.norm(english, axis=1, keepdims=True), 1e-9)
    rotation, _ = np.linalg.qr(generator.normal(size=(dim, dim)))
    foreign = np.zeros_like(english)
    foreign[:n] = english[n:] @ rotation.T  # foreign piece i is English piece n + i
    words = np.zeros((2 * n, 3), dtype=np.float32)
    words[n:] = english[n:, :3]
    pairs = [(np.array([i]), np.array([n + i])) for i in range(n - 100)] * 3
    vectors, known = translate_embeddings(translation_table(pairs, n_pieces=2 * n), foreign, english, words)
    untranslated = np.arange(n - 100, n)
    error = np.linalg.norm(vectors[untranslated] - words[n + untranslated], axis=1)
    chance = np.linalg.norm(vectors[untranslated] - words[n + np.roll(untranslated, 7)], axis=1)
    assert known[untranslated].all()
    assert error.mean() < 0.6 * chance.mean()
