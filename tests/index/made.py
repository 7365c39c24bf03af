"""Centroid indexes of made-up embeddings, for the tests of the codec and of what stands on it."""

from collections.abc import Sequence

import numpy as np

from xm.index.centroid import CentroidIndex, build_centroid
from xm.index.table import PassageTable, table_of
from xm.options import CodecOptions
from xm.types import Corpus, LanguageGuess, Passage, TokenEmbeddings

CODES = ("en_XX", "de_DE", "fr_XX")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def clustered(
    *, n_passages: int, dim: int = 16, longest: int = 9, n_kinds: int = 40, seed: int = 0
) -> list[np.ndarray]:
    """Passages of 1 to `longest` tokens; a token is one of n_kinds vectors, turned a little."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((n_kinds, dim))
    return [
        unit(kinds[rng.integers(0, n_kinds, n)] + 0.4 * rng.standard_normal((n, dim)))
        for n in rng.integers(1, longest + 1, n_passages)
    ]


def table_for(passages: Sequence[np.ndarray]) -> PassageTable:
    """Passages p0, p1, ... whose words are w0, w1, ..., in three languages by turns."""
    corpus_passages, items = [], []
    for number, vectors in enumerate(passages):
        words = [f"w{i}" for i in range(len(vectors))]
        language = LanguageGuess(CODES[number % len(CODES)], 1.0, "given")
        ends = np.cumsum([len(word) + 1 for word in words])
        corpus_passages.append(Passage(f"p{number}", " ".join(words), language))
        items.append(
            TokenEmbeddings(
                text=" ".join(words),
                vectors=vectors,
                tokens=tuple(words),
                offsets=np.array([(end - len(word) - 1, end - 1) for word, end in zip(words, ends, strict=True)]),
                kinds=("content",) * len(words),
                language=language,
            )
        )
    corpus = Corpus("made", tuple(corpus_passages))
    return table_of(corpus, items, model="m", revision="r")


def index_of(passages: Sequence[np.ndarray], **options: int) -> CentroidIndex:
    return build_centroid(table_for(passages), np.concatenate(passages), options=CodecOptions(**options))


def query_like(vectors: np.ndarray, *, noise: float = 0.1, seed: int = 1) -> np.ndarray:
    return unit(vectors + noise * np.random.default_rng(seed).standard_normal(vectors.shape))
