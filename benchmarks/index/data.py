"""What is indexed and asked: token embeddings as .npy files, made up so that they cluster like real ones, or xm-mini's.

A data folder holds vectors.npy (n_tokens, dim) float32, starts.npy (n_passages + 1,) int64, queries.npy (n_queries, 32,
dim) float32 and truth.npy (n_queries, 100) int64: the passages by falling exact MaxSim, worked out in plain numpy.
Leaves out: what is done with them (benchmarks.index.measure).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

DIM, N_QUERY, N_TRUTH = 128, 32, 100
TOKENS_PER_WORD = 40  # a prototype, "word", for each 40 tokens
SHORTEST, LONGEST = 16, 240  # tokens in a passage
# Shares of a token's squared length. Two tokens of one word have a cosine of 0.8 on average, 0.9 within a passage.
WORD, PASSAGE = 0.8, 0.1
ZIPF_SHIFT = 2.7  # Mandelbrot's: the word of rank r is drawn in proportion to 1 / (r + 2.7)
RANDOM_WORDS = 0.25  # share of a query's tokens that are not from its passage
_BLOCK_PASSAGES = 4_096


def make_synthetic(folder: Path, *, n_tokens: int, n_queries: int, seed: int) -> None:
    """Write a data folder of made-up embeddings.

    Each token is a word: sqrt(0.8) times the word's prototype, plus sqrt(0.1) times its passage's direction, plus
    sqrt(0.1) times noise of its own, all random unit vectors. Words follow Zipf's law, passages have 16 to 240 tokens.
    A query is 32 words, three in four of them from one passage, with that passage's direction and noise of its own.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(SHORTEST, LONGEST + 1, n_tokens // SHORTEST + 1)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    starts = np.append(starts[: np.searchsorted(starts, n_tokens - SHORTEST)], n_tokens)
    n_words, n_passages = max(n_tokens // TOKENS_PER_WORD, 50), len(starts) - 1
    prototypes = _directions(n_words, rng)
    shares = np.cumsum(1 / (np.arange(n_words) + ZIPF_SHIFT))
    asked = np.sort(rng.choice(n_passages, n_queries, replace=n_passages < n_queries))
    folder.mkdir(parents=True, exist_ok=True)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (n_tokens, DIM))
    queries = []
    for first in range(0, n_passages, _BLOCK_PASSAGES):
        after = min(first + _BLOCK_PASSAGES, n_passages)
        begin, end = starts[first], starts[after]
        places = np.repeat(np.arange(after - first), np.diff(starts[first : after + 1]))
        words, directions = _draw(shares, end - begin, rng), _directions(after - first, rng)
        vectors[begin:end] = _tokens(prototypes[words], directions[places], rng)
        for passage in asked[(asked >= first) & (asked < after)]:
            own = words[starts[passage] - begin : starts[passage + 1] - begin]
            chosen = np.where(rng.random(N_QUERY) < RANDOM_WORDS, _draw(shares, N_QUERY, rng), rng.choice(own, N_QUERY))
            queries.append(_tokens(prototypes[chosen], directions[passage - first], rng))
    vectors.flush()
    _finish(folder, starts, np.stack(queries))


def make_xm_mini(folder: Path, *, contexts: Path | None, n_queries: int, seed: int) -> None:
    """Write a data folder of xm-mini's embeddings of the sample corpora and, if given, of the passages of a QA folder.

    Queries are those of the sample corpora, then questions of the QA files (dev.SOURCE.LANG.jsonl.xz), in seeded order.
    Files in languages that the model lacks are passed over.
    """
    from benchmarks.evaluate_qa import FILE_NAME, find_code, read_pairs
    from xm.corpus import read_corpus
    from xm.encoder import load_encoder
    from xm.evaluation import read_queries
    from xm.types import LanguageGuess

    texts: list[tuple[str, LanguageGuess]] = []
    questions: list[tuple[str, LanguageGuess]] = []
    for corpus in sorted(path for path in Path("sample_corpora").iterdir() if path.is_dir()):
        texts += [(item.text, item.language) for item in read_corpus(corpus, language="auto").passages]
        for query in read_queries(corpus / "queries.jsonl"):
            questions.append((query.text, LanguageGuess(query.language, 1.0, "given")))
    encoder = load_encoder("xm-mini")
    for path in sorted(contexts.glob("dev.*.jsonl.xz")) if contexts else ():
        language = LanguageGuess(find_code(FILE_NAME.fullmatch(path.name)[2]), 1.0, "given")
        if language.code not in encoder.languages:
            continue
        pairs = read_pairs(path)
        texts += [(context, language) for context in dict.fromkeys(context for _, context in pairs)]
        questions += [(question, language) for question, _ in pairs]
    order = np.random.default_rng(seed).permutation(len(questions))[:n_queries]
    queries = np.stack([encoder.encode_query(*questions[at]).vectors for at in order])
    items = dict(encoder.stream_passages([text for text, _ in texts], [language for _, language in texts]))
    rows = [items[place].vectors for place in range(len(texts))]
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", np.concatenate(rows))
    _finish(folder, np.concatenate([[0], np.cumsum([len(row) for row in rows])]), queries)


def _finish(folder: Path, starts: np.ndarray, queries: np.ndarray) -> None:
    """Write what belongs to the vectors; truth.npy last, so that a folder that has it is whole."""
    np.save(folder / "starts.npy", starts.astype(np.int64))
    np.save(folder / "queries.npy", queries.astype(np.float32))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    scores = np.concatenate(list(exact_scores(queries, vectors, starts)), axis=1)
    np.save(folder / "truth.npy", np.argsort(-scores, axis=1, kind="stable")[:, :N_TRUTH])


def exact_scores(queries: np.ndarray, vectors: np.ndarray, starts: np.ndarray) -> Iterator[np.ndarray]:
    """Score blocks of passages for all queries at once, in plain numpy: (n_queries, n_in_block) each."""
    stacked = queries.reshape(-1, queries.shape[-1])
    for first in range(0, len(starts) - 1, 64):
        bounds = starts[first : first + 65]
        cells = stacked @ vectors[bounds[0] : bounds[-1]].T
        best = np.maximum.reduceat(cells, bounds[:-1] - bounds[0], axis=1)
        yield best.reshape(*queries.shape[:2], -1).sum(axis=1, dtype=np.float64)


def _draw(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n words by their cumulated shares."""
    return np.searchsorted(shares, rng.random(n) * shares[-1])


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, DIM) float32: random unit vectors."""
    rows = rng.standard_normal((n, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _tokens(words: np.ndarray, passages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix word, passage and noise into unit vectors."""
    own = _directions(len(words), rng)
    rows = np.sqrt(WORD) * words + np.sqrt(PASSAGE) * passages + np.sqrt(1 - WORD - PASSAGE) * own
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
