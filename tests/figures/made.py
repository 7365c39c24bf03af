"""Alignments made by hand or from a seed, for the tests of the figures."""

import re

import numpy as np

from xm.maxsim import align
from xm.types import NO_SPAN, Alignment, Kind, LanguageGuess, TokenEmbeddings

ENGLISH = LanguageGuess("en_XX", 1.0, "given")
PORTUGUESE = LanguageGuess("pt_XX", 0.99, "detected", margin=0.98, runner_up="gl_ES")


def embeddings(
    pieces: list[tuple[str, Kind]],
    vectors: np.ndarray,
    *,
    text: str | None = None,
    language: LanguageGuess = ENGLISH,
    n_unseen: int = 0,
) -> TokenEmbeddings:
    """Place content pieces one after another in the text ("▁" begins a word); markers, masks and lone "▁" have none."""
    written = "".join(piece.replace("▁", " ") for piece, kind in pieces if kind == "content").strip()
    text = written if text is None else text
    offsets, position = [], 0
    for piece, kind in pieces:
        bare = piece.replace("▁", "")
        placed = bare and kind == "content"
        start = text.index(bare, position) if placed else -1
        offsets.append((start, start + len(bare)) if placed else NO_SPAN)
        position = max(position, offsets[-1][1])
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    tokens, kinds = zip(*pieces, strict=True)
    return TokenEmbeddings(text, unit, tokens, np.array(offsets, np.int32), kinds, language, n_unseen)


def by_hand() -> Alignment:
    """ "coral reefs", a marker and two masks against "os recifes de coral de cor"; every winner is known.

    Contributions: coral 1.0, ree 0.8, fs 0.6, <s> 0.96, masks 1.0 and 0.8: score 5.16.
    """
    axes = np.eye(8, dtype=np.float32)
    query_pieces = [("<s>", "marker"), ("▁coral", "content"), ("▁ree", "content"), ("fs", "content")]
    query_pieces += [("<mask>", "mask"), ("<mask>", "mask")]
    query = [_mix(axes, 3, 0.96), axes[0], _mix(axes, 1, 0.8), _mix(axes, 2, 0.6), axes[0], _mix(axes, 1, 0.8)]
    passage_pieces = [("<s>", "marker"), ("▁os", "content"), ("▁reci", "content"), ("fes", "content")]
    passage_pieces += [("▁de", "content"), ("▁coral", "content"), ("▁de", "content"), ("▁cor", "content")]
    passage = [axes[3], axes[4], axes[1], axes[2], axes[5], axes[0], axes[5], axes[6]]
    return align(
        embeddings(query_pieces, np.array(query)),
        embeddings(passage_pieces, np.array(passage), language=PORTUGUESE),
        passage_id="reef.pt",
        model="by-hand",
    )


def at_random(
    query_text: str = "how do plants store energy",
    passage_text: str = "as plantas usam a luz e a luz e a energia da luz",
    *,
    n_query: int = 32,
    n_passage: int | None = None,
    seed: int = 0,
    language: LanguageGuess = PORTUGUESE,
) -> Alignment:
    """Words of any script with random vectors; long words are two tokens; masks fill the query up."""
    rng = np.random.default_rng(seed)
    query_pieces = [("<s>", "marker"), ("<unk>", "marker"), *_pieces(query_text), ("</s>", "marker")]
    query_pieces += [("<mask>", "mask")] * (n_query - len(query_pieces))
    words = _pieces(passage_text)
    words = (words * 99)[: n_passage - 3] if n_passage else words
    passage_pieces = [("<s>", "marker"), ("<unk>", "marker"), *words, ("</s>", "marker")]
    passage_text = None if n_passage else passage_text
    return align(
        embeddings(query_pieces, _vectors(rng, len(query_pieces)), text=query_text),
        embeddings(passage_pieces, _vectors(rng, len(passage_pieces)), text=passage_text, language=language),
        passage_id="made",
        model="random",
    )


def _mix(axes: np.ndarray, axis: int, cosine: float) -> np.ndarray:
    """A unit vector with this cosine to one axis and none to those of the passage."""
    return cosine * axes[axis] + np.sqrt(1 - cosine**2) * axes[7]


def _pieces(text: str) -> list[tuple[str, Kind]]:
    found: list[tuple[str, Kind]] = []
    for word in re.findall(r"\S+", text):
        parts = [word[:4], word[4:]] if 7 < len(word) < 30 else [word]
        found += [(f"▁{part}" if i == 0 else part, "content") for i, part in enumerate(parts)]
    return found


def _vectors(rng: np.random.Generator, n_tokens: int) -> np.ndarray:
    """Random directions that lean to one side, so that cosines spread around 0.3 as real ones do."""
    return rng.normal(size=(n_tokens, 16)) + 0.6
