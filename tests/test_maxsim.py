"""MaxSim against an example worked by hand, against loops, and the words whose sums must stay exact."""

import numpy as np
import pytest

from tests import fakes
from xm.maxsim import align, maxsim, similarity, words_of
from xm.types import LanguageGuess, TokenEmbeddings

ENGLISH = LanguageGuess("en_XX", 1.0, "given")
TEXTS = [
    "Unbelievably long words, split in pieces!",
    "e-mail, U.S.A. and don't: 3,14 °C",
    "日本語のテキスト and some English words",
    "नमस्ते दुनिया",
    "السلام عليكم",
    "",
]


def embeddings_of(text: str, spans: list[tuple[int, int]], kinds: str = "") -> TokenEmbeddings:
    """Token embeddings of a text cut at given spans; kinds by first letter: c(ontent), m(arker), a(sk)."""
    names = {"c": "content", "m": "marker", "a": "mask"}
    rng = np.random.default_rng(len(text))
    vectors = rng.standard_normal((len(spans), 4)).astype(np.float32)
    return TokenEmbeddings(
        text=text,
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        tokens=tuple(text[slice(*span)] if span[0] >= 0 else f"<{i}>" for i, span in enumerate(spans)),
        offsets=np.array(spans, dtype=np.int32).reshape(len(spans), 2),
        kinds=tuple(names[kind] for kind in kinds or "c" * len(spans)),
        language=ENGLISH,
    )


def encode(text: str) -> TokenEmbeddings:
    return fakes.FakeEncoder().encode_passages([text], [ENGLISH])[0]


def test_an_example_worked_by_hand() -> None:
    query = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    passage = np.array([[0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]], dtype=np.float32)
    # Rows of the query against rows of the passage: 0, 0.8, -1 and 0.8, 0.48 + 0.48 = 0.96, -0.6.
    np.testing.assert_allclose(similarity(query, passage), [[0.0, 0.8, -1.0], [0.8, 0.96, -0.6]], atol=1e-6)
    assert maxsim(query, passage) == pytest.approx(0.8 + 0.96)


def test_a_negative_maximum_counts_as_it_is() -> None:
    assert maxsim(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0], [-0.6, 0.8]])) == pytest.approx(-0.6)


@pytest.mark.parametrize("seed", range(5))
def test_maxsim_equals_two_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, passage = (rng.standard_normal((n, 8)).astype(np.float32) for n in rng.integers(1, 20, 2))
    slow = 0.0
    for q in query:
        best = -np.inf
        for p in passage:
            best = max(best, sum(float(a) * float(b) for a, b in zip(q, p, strict=True)))
        slow += best
    assert maxsim(query, passage) == pytest.approx(slow, abs=1e-4)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (2, 3)), ((2, 3), (1, 2, 3))])
def test_shapes_that_do_not_fit_are_an_error(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"expected \(n_query, dim\)"):
        similarity(*(np.zeros(shape, dtype=np.float32) for shape in shapes))


def test_nothing_to_compare_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        maxsim(np.zeros((2, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="at least one token"):
        align(embeddings_of("", []), encode("a"))


@pytest.mark.parametrize("text", TEXTS)
def test_contributions_of_tokens_and_of_words_sum_to_the_score(text: str) -> None:
    query = fakes.FakeEncoder().encode_query(text, ENGLISH)
    alignment = align(query, encode("A passage about long words in 日本語, e-mail and more."))
    contribution = alignment.contribution
    assert alignment.score == pytest.approx(maxsim(query.vectors, alignment.passage.vectors), abs=1e-5)
    assert alignment.score == pytest.approx(contribution.sum(), abs=1e-5)
    by_word = [contribution[list(word.token_ids)].sum() for word in alignment.query_words]
    assert sum(by_word) == pytest.approx(alignment.score, abs=1e-5)
    np.testing.assert_array_equal(contribution, alignment.similarity.max(axis=1))


def test_the_first_of_equal_winners_is_taken() -> None:
    passage = embeddings_of("a b", [(0, 1), (2, 3)])
    passage.vectors[1] = passage.vectors[0]
    assert align(passage, passage).best.tolist()[0] == 0


@pytest.mark.parametrize("text", TEXTS)
def test_every_token_is_in_exactly_one_word(text: str) -> None:
    item = encode(text)
    words = words_of(item)
    assert [token_id for word in words for token_id in word.token_ids] == list(range(len(item.tokens)))
    for word in words:
        if word.span != (-1, -1):
            assert word.text == text[slice(*word.span)]


def words(text: str, spans: list[tuple[int, int]], kinds: str = "") -> list[str]:
    return [word.text for word in words_of(embeddings_of(text, spans, kinds))]


def test_pieces_of_a_word_are_merged_and_signs_stand_alone() -> None:
    assert words("unlikely, no", [(0, 2), (2, 6), (6, 8), (8, 9), (10, 12)]) == ["unlikely", ",", "no"]


def test_a_word_may_not_reach_over_a_space_or_a_sign() -> None:
    assert words("well-known fact", [(0, 4), (4, 5), (5, 10), (11, 15)]) == ["well", "-", "known", "fact"]


def test_characters_of_scripts_without_spaces_stand_alone() -> None:
    assert words("日本語", [(0, 1), (1, 2), (2, 3)]) == ["日", "本", "語"]
    assert words("東京tower", [(0, 2), (2, 4), (4, 7)]) == ["東京", "tower"]


def test_combining_marks_stay_with_their_letters() -> None:
    text = "नमस्ते"
    assert words(text, [(0, 2), (2, 4), (4, len(text))]) == [text]
    assert words("e\u0301te\u0301", [(0, 2), (2, 5)]) == ["e\u0301te\u0301"]


def test_tokens_that_share_a_character_are_one_word() -> None:
    # A character of several bytes may be several tokens with one span.
    assert words("🙂 x", [(0, 1), (0, 1), (2, 3)]) == ["🙂", "x"]


def test_markers_and_masks_stand_alone() -> None:
    spans = [(-1, -1), (0, 2), (2, 4), (-1, -1), (-1, -1)]
    found = words_of(embeddings_of("wordy", spans, "mccaa"))
    assert [word.token_ids for word in found] == [(0,), (1, 2), (3,), (4,)]
    assert [word.kind for word in found] == ["marker", "content", "mask", "mask"]


def test_an_empty_piece_belongs_to_the_word_before() -> None:
    assert [word.token_ids for word in words_of(embeddings_of("ab c", [(0, 2), (2, 2), (3, 4)]))] == [(0, 1), (2,)]


def test_a_lone_space_belongs_to_the_word_behind_it() -> None:
    found = words_of(embeddings_of("our oxygen ", [(-1, -1), (0, 3), (-1, -1), (4, 7), (7, 10), (-1, -1)], "mccccc"))
    assert [(word.text, word.token_ids, word.kind) for word in found[1:]] == [
        ("our", (1,), "content"), ("oxygen", (2, 3, 4), "content"), ("<5>", (5,), "content")
    ]  # fmt: skip
