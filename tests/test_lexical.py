"""BM25: its formula by hand, its tokenisation script by script."""

import math
from collections import Counter

import pytest

from xm.lexical import K1, B, LexicalIndex, tokenize
from xm.types import LanguageGuess, Passage

ENGLISH = LanguageGuess("en_XX", 1.0, "given")


def passages_of(*texts: str) -> list[Passage]:
    return [Passage(f"p{number}", text, ENGLISH) for number, text in enumerate(texts)]


def slow_bm25(query: str, texts: list[str]) -> list[float]:
    """Robertson's formula with Lucene's idf and without the factor k1 + 1, written out token by token."""
    counts = [Counter(tokenize(text)) for text in texts]
    mean = sum(sum(count.values()) for count in counts) / len(counts)
    scores = []
    for count in counts:
        norm = K1 * (1 - B + B * sum(count.values()) / mean)
        score = 0.0
        for token in tokenize(query):
            n_with = sum(token in other for other in counts)
            score += math.log(1 + (len(counts) - n_with + 0.5) / (n_with + 0.5)) * count[token] / (count[token] + norm)
        scores.append(score)
    return scores


def test_a_score_worked_by_hand():
    # Two passages of two tokens each, so the length norm is 1 and k1 = 1.5 remains: idf = ln(1 + 1.5 / 1.5) = ln 2.
    index = LexicalIndex(passages_of("blue whale", "red fox"))
    (hit,) = index.search("whale", k=5)
    assert hit.passage_id == "p0" and hit.rank == 1 and not hit.exact
    assert hit.score == pytest.approx(math.log(2) * 1 / (1 + 1.5), abs=1e-6)


def test_scores_equal_those_of_the_slow_formula():
    texts = ["the sun warms the sea", "a sea of stars", "stars and sun", "nothing here", "sun sun sun"]
    query = "sun sea sun"
    expected = slow_bm25(query, texts)
    hits = LexicalIndex(passages_of(*texts)).search(query, k=10)
    assert {hit.passage_id: pytest.approx(hit.score, abs=1e-5) for hit in hits} == {
        f"p{number}": score for number, score in enumerate(expected) if score > 0
    }
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def test_equal_passages_come_in_the_order_of_their_ids():
    passages = [Passage(name, "same words here", ENGLISH) for name in ("c", "a", "b")]
    index = LexicalIndex(passages)
    assert [hit.passage_id for hit in index.search("words", k=3)] == ["a", "b", "c"]
    assert [hit.passage_id for hit in index.search("words", k=2)] == ["a", "b"]


def test_a_passage_that_shares_no_token_is_not_a_hit():
    assert LexicalIndex(passages_of("blue whale", "red fox")).search("giraffe", k=5) == ()


@pytest.mark.parametrize("texts", [(), ("😀 !!", "...")])
def test_a_corpus_without_a_single_token_gives_no_hits(texts):
    assert LexicalIndex(passages_of(*texts)).search("anything", k=5) == ()


def test_a_query_without_a_token_gives_no_hits():
    assert LexicalIndex(passages_of("blue whale")).search("?!", k=5) == ()


def test_at_most_k_hits_come_back():
    index = LexicalIndex(passages_of("a b", "a c", "a d"))
    assert len(index.search("a", k=2)) == 2
    with pytest.raises(ValueError, match="at least 1"):
        index.search("a", k=0)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't STOP, Größe 12", ["don", "t", "stop", "größe", "12"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs stay inside the word
        ("বাংলা తెలుగు", ["বাংলা", "తెలుగు"]),
        ("東京タワーはTokyoです", ["東京", "京タ", "タワ", "ワー", "ーは", "tokyo", "です"]),
        ("中", ["中"]),
        ("ข้าว", ["ข้", "้า", "าว"]),
        ("학교에서", ["학교", "교에", "에서"]),
        ("كِتَاب كـتاب", ["كتاب", "كتاب"]),  # vowel signs and tatweel go
        ("Ｆｕｌｌ ﬁne", ["full", "fine"]),  # NFKC
        ("", []),
    ],
)
def test_tokenisation_of_each_kind_of_script(text, tokens):
    assert tokenize(text) == tokens
