"""MaxSim and its alignment in plain numpy: short enough to read aloud in a lecture.

Leaves out: speed over many passages (xm.index.flat) and everything that needs a model.
"""

import unicodedata

import numpy as np

from xm.types import NO_SPAN, Alignment, Kind, TokenEmbeddings, Word

# Scripts written without spaces: each character stands as a word of its own.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def similarity(query: np.ndarray, passage: np.ndarray) -> np.ndarray:
    """Compare every query token with every passage token.

    Args:
        query: (n_query, dim) float32, unit rows.
        passage: (n_passage, dim) float32, unit rows.

    Returns:
        (n_query, n_passage) float32, cosine in [-1, 1].
    """
    if query.ndim != 2 or passage.ndim != 2 or query.shape[1] != passage.shape[1]:
        raise ValueError(f"expected (n_query, dim) and (n_passage, dim) of one dim; got {query.shape}, {passage.shape}")
    return query @ passage.T


def maxsim(query: np.ndarray, passage: np.ndarray) -> float:
    """Score a passage: each query token takes its best passage token; the scores add up.

    Shapes as in `similarity`. Khattab & Zaharia 2020, equation 3. A negative maximum counts as it is.
    """
    if len(passage) == 0:
        raise ValueError("a passage without tokens has no MaxSim score")
    return float(similarity(query, passage).max(axis=1).sum(dtype=np.float64))


def align(
    query: TokenEmbeddings,
    passage: TokenEmbeddings,
    *,
    passage_id: str = "",
    model: str = "",
    exact: bool = True,
) -> Alignment:
    """Explain a score: the similarity of every pair of tokens and the winner of each row (first one on a tie)."""
    if len(passage.tokens) == 0 or len(query.tokens) == 0:
        raise ValueError("an alignment needs at least one token on each side")
    cells = similarity(query.vectors, passage.vectors)
    return Alignment(
        query=query,
        passage=passage,
        similarity=cells,
        best=cells.argmax(axis=1),
        query_words=words_of(query),
        passage_words=words_of(passage),
        passage_id=passage_id,
        model=model,
        exact=exact,
    )


def words_of(embeddings: TokenEmbeddings) -> tuple[Word, ...]:
    """Merge tokens into words by their character spans, so that sums over words equal sums over tokens.

    A token that begins inside the word before it, or right behind it without a space, belongs to that word. CJK,
    Thai and their like are split by token, never merged. A lone space of the text belongs to the word behind it;
    other tokens without a span (markers, masks) stand alone.
    """
    words: list[Word] = []
    for index, (start, end) in enumerate(embeddings.offsets.tolist()):
        kind = embeddings.kinds[index]
        if words and _continues(embeddings.text, words[-1], (start, end), kind):
            before = words.pop()
            span = (start if before.span == NO_SPAN else before.span[0], max(before.span[1], end))
            words.append(Word(embeddings.text[slice(*span)], (*before.token_ids, index), kind, span))
        else:
            text = embeddings.tokens[index] if (start, end) == NO_SPAN else embeddings.text[start:end]
            words.append(Word(text, (index,), kind, (start, end)))
    return tuple(words)


def _continues(text: str, before: Word, span: tuple[int, int], kind: Kind) -> bool:
    """Say whether a token at `span` belongs to the word before it."""
    start, end = span
    if span == NO_SPAN or kind != before.kind or kind != "content":
        return False
    if before.span == NO_SPAN:
        return True
    if start < before.span[1] or start == end:
        return True
    return start == before.span[1] and _is_word_char(text[start - 1]) and _is_word_char(text[start])


def _is_word_char(char: str) -> bool:
    """Letters, digits and combining marks of scripts that put spaces between words."""
    if unicodedata.category(char)[0] not in "LNM":
        return False
    return not unicodedata.name(char, "").startswith(_UNSPACED)
