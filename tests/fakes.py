"""A deterministic encoder without a model: words hash to unit vectors. For tests of what stands on the encoder.

It has the encoder's interface and the shape of its output: markers, masks up to the query length, long words in two
pieces, an adapter that turns every vector a little, and a passage length beyond which characters go unseen.
"""

import hashlib
import importlib
import re
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest

from xm.encoder.checkpoints import CheckpointFacts
from xm.errors import CheckpointError, LanguageError
from xm.types import NO_SPAN, Corpus, Kind, LanguageGuess, Passage, TokenEmbeddings

DIM = 16
QUERY_LENGTH = 12
PASSAGE_LENGTH = 60
CODES = tuple("en_XX es_XX fr_XX it_IT pt_XX id_ID de_DE ru_RU zh_CN ja_XX nl_XX vi_VN hi_IN ar_AR".split())
# Words of a script without spaces one character at a time, words, single signs: as a tokenizer splits them.
_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|[^\W_]+|[^\w\s]|_")
_LONG_WORD = 7
Piece = tuple[str, tuple[int, int], Kind]


class FakeEncoder:
    """Encodes like the real one, from hashes."""

    def __init__(self, *, model: str = "fake", revision: str = "0" * 16, languages: Sequence[str] = CODES) -> None:
        self.model = model
        self.revision = revision
        self.dim = DIM
        self.languages = tuple(languages)
        self.precision = "float32"
        self.facts = fake_facts(model, self.languages)
        self.n_encoded = 0

    def encode_query(self, text: str, language: LanguageGuess) -> TokenEmbeddings:
        self._check([language])
        pieces = _pieces(text)[: QUERY_LENGTH - 3]
        pieces = [("<s>", NO_SPAN, "marker"), ("[Q]", NO_SPAN, "marker"), *pieces, ("</s>", NO_SPAN, "marker")]
        pieces += [("<mask>", NO_SPAN, "mask")] * (QUERY_LENGTH - len(pieces))
        return _embeddings(text, pieces, language)

    def stream_passages(
        self, texts: Sequence[str], languages: Sequence[LanguageGuess]
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        self._check(languages)
        return self._stream(texts, languages)

    def encode_passages(self, texts: Sequence[str], languages: Sequence[LanguageGuess]) -> list[TokenEmbeddings]:
        found = dict(self.stream_passages(texts, languages))
        return [found[position] for position in range(len(texts))]

    def _stream(
        self, texts: Sequence[str], languages: Sequence[LanguageGuess]
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        order = sorted(range(len(texts)), key=lambda position: (languages[position].code, -len(texts[position])))
        for position in order:
            self.n_encoded += 1
            pieces = _pieces(texts[position])[: PASSAGE_LENGTH - 3]
            pieces = [("<s>", NO_SPAN, "marker"), ("[D]", NO_SPAN, "marker"), *pieces, ("</s>", NO_SPAN, "marker")]
            yield position, _embeddings(texts[position], pieces, languages[position])

    def _check(self, languages: Sequence[LanguageGuess]) -> None:
        for language in languages:
            if language.code not in self.languages:
                raise LanguageError(f"no language adapter {language.code!r}; it has {', '.join(self.languages)}")


def fake_facts(model: str, languages: tuple[str, ...]) -> CheckpointFacts:
    return CheckpointFacts(
        model=model,
        layout="Stanford",
        backbone="xmod",
        dim=DIM,
        hidden=32,
        n_layers=2,
        vocab_size=1_000,
        query_length=QUERY_LENGTH,
        passage_length=PASSAGE_LENGTH,
        query_marker="[Q]",
        query_marker_id=1,
        passage_marker="[D]",
        passage_marker_id=2,
        mask_id=3,
        attends_to_masks=False,
        skiplist=(),
        languages=languages,
        licence="MIT",
        bytes_on_disk=1_000_000,
    )


def put_in_place(monkeypatch: pytest.MonkeyPatch, *encoders: FakeEncoder) -> None:
    """Make `from xm.encoder import load_encoder, inspect_checkpoint` find these encoders by name, without torch.

    Modules that import them at their top keep what they found: import such a module before calling this.
    """
    by_name = {encoder.model: encoder for encoder in encoders}

    def load_encoder(model: str = "fake", **_: object) -> FakeEncoder:
        if model not in by_name:
            raise CheckpointError(f"{model!r} is neither a folder nor a hub name; known: {', '.join(by_name)}")
        return by_name[model]

    # Into the package's own names, as setattr would first look up what it replaces, which brings torch.
    names = vars(importlib.import_module("xm.encoder"))
    monkeypatch.setitem(names, "load_encoder", load_encoder)
    monkeypatch.setitem(names, "inspect_checkpoint", lambda model: load_encoder(model).facts)


def passage(passage_id: str, text: str, code: str = "en_XX") -> Passage:
    return Passage(passage_id, text, LanguageGuess(code, 1.0, "given"))


def corpus(*texts: str, name: str = "toy") -> Corpus:
    """A corpus of English passages p0, p1, ..."""
    return Corpus(name, tuple(passage(f"p{number}", text) for number, text in enumerate(texts)))


def _pieces(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        if end - start <= _LONG_WORD:
            pieces.append((f"▁{match[0]}", (start, end), "content"))
        else:
            half = start + _LONG_WORD - 2
            pieces += [(f"▁{text[start:half]}", (start, half), "content"), (text[half:end], (half, end), "content")]
    return pieces


def _embeddings(text: str, pieces: list[Piece], language: LanguageGuess) -> TokenEmbeddings:
    vectors = np.stack([_vector(token.lower()) + 0.2 * _vector(f"adapter {language.code}") for token, _, _ in pieces])
    # What comes before colours a token a little, as context does.
    vectors[1:] += 0.1 * vectors[:-1]
    last = max((span[1] for _, span, _ in pieces), default=0)
    return TokenEmbeddings(
        text=text,
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        tokens=tuple(token for token, _, _ in pieces),
        offsets=np.array([span for _, span, _ in pieces], dtype=np.int32),
        kinds=tuple(kind for _, _, kind in pieces),
        language=language,
        n_unseen=len(text) - last if len(pieces) == PASSAGE_LENGTH else 0,
    )


@cache
def _vector(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return vector / np.linalg.norm(vector)
