"""The values that travel through XM Lens: frozen records of text and numpy arrays.

Texts are ragged: padding and skipped tokens are dropped when they leave the encoder, so nothing here needs a mask.
Leaves out: anything that computes with torch, reads a file, or draws.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Source = Literal["given", "detected", "inherited"]
Kind = Literal["content", "marker", "mask"]
NO_SPAN = (-1, -1)


@dataclass(frozen=True)
class LanguageGuess:
    """The language adapter of one text, and how it was chosen.

    `probability` is the detector's own (0 to 1; 1.0 where the code was given or settled by the script) and says
    little alone: show it beside `margin`, its distance to the runner-up (0 to 1).
    """

    code: str
    probability: float
    source: Source
    margin: float = 1.0
    runner_up: str | None = None


@dataclass(frozen=True)
class Passage:
    """A piece of text that is ranked. `parent_id` names the passage it was split from, if it was."""

    passage_id: str
    text: str
    language: LanguageGuess
    parent_id: str | None = None


@dataclass(frozen=True)
class Corpus:
    """Passages in their order; `notes` says what the reader found odd (duplicates, empty rows), with row numbers.

    The passages are a tuple, or those of an index on disk, which are read when they are asked for; such passages know
    their ids and codes (`passage_ids`, `codes`) beforehand.
    """

    name: str
    passages: Sequence[Passage]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = Counter(self.passage_ids)
        if len(counts) != len(self.passage_ids):
            repeated = next(passage_id for passage_id in self.passage_ids if counts[passage_id] > 1)
            raise ValueError(f"passage ids must be unique; {repeated!r} occurs more than once")

    @cached_property
    def passage_ids(self) -> tuple[str, ...]:
        """Ids of the passages, in order."""
        known = getattr(self.passages, "passage_ids", None)
        return tuple(passage.passage_id for passage in self.passages) if known is None else known

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """XMOD codes of the passages, most frequent first."""
        known = getattr(self.passages, "codes", None)
        counts = Counter(passage.language.code for passage in self.passages) if known is None else Counter(known)
        return tuple(sorted(counts, key=lambda code: (-counts[code], code)))

    @cached_property
    def digest(self) -> str:
        """Hash of ids and texts (SHA-256, 64 hex digits)."""
        return digest_of(part for passage in self.passages for part in (passage.passage_id, passage.text))


@dataclass(frozen=True, eq=False)
class TokenEmbeddings:
    """The scored tokens of one text.

    vectors: (n_tokens, dim) float32, unit rows. tokens: the tokenizer's pieces. offsets: (n_tokens, 2) int32,
    half-open character spans of `text`, (-1, -1) where a token has none. kinds: content, marker or mask per token.
    n_unseen: characters of `text` past the length limit that no token covers.
    """

    text: str
    vectors: np.ndarray
    tokens: tuple[str, ...]
    offsets: np.ndarray
    kinds: tuple[Kind, ...]
    language: LanguageGuess
    n_unseen: int = 0

    def __post_init__(self) -> None:
        n_tokens = len(self.tokens)
        if self.vectors.ndim != 2 or len(self.vectors) != n_tokens or self.offsets.shape != (n_tokens, 2):
            raise ValueError(
                f"{n_tokens} tokens need vectors (n_tokens, dim) and offsets (n_tokens, 2); "
                f"got {self.vectors.shape} and {self.offsets.shape}"
            )


@dataclass(frozen=True, eq=False)
class Codes:
    """Token embeddings compressed: the nearest centroid, and the residual to it in n_bits a number.

    centroid_ids: (n_tokens,) uint16 where there are at most 65,536 centroids, else int32. residuals:
    (n_tokens, dim * n_bits / 8) uint8, the residual's buckets packed bit by bit (xm.index.codec).
    """

    centroid_ids: np.ndarray
    residuals: np.ndarray

    def __post_init__(self) -> None:
        if self.centroid_ids.ndim != 1 or self.residuals.ndim != 2 or len(self.residuals) != len(self.centroid_ids):
            raise ValueError(
                f"codes need centroid_ids (n_tokens,) and residuals (n_tokens, n_bytes); got "
                f"{self.centroid_ids.shape} and {self.residuals.shape}"
            )


@dataclass(frozen=True)
class Hit:
    """One ranked passage. rank starts at 1; exact says whether the score is full MaxSim on full vectors."""

    passage_id: str
    score: float
    rank: int
    exact: bool = True


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Hits by falling score, ties by passage id; seconds per stage; the query as it was encoded."""

    query: TokenEmbeddings
    hits: tuple[Hit, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Word:
    """A word and the token indices it merges; kind as for tokens; span in characters, (-1, -1) if none."""

    text: str
    token_ids: tuple[int, ...]
    kind: Kind
    span: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the score of one query and passage comes from.

    similarity: (n_query, n_passage) float32 cosine in [-1, 1]. best: (n_query,) int, the winning passage token of
    each row. The contributions similarity[i, best[i]] sum to the score: MaxSim, Khattab & Zaharia 2020, equation 3.
    """

    query: TokenEmbeddings
    passage: TokenEmbeddings
    similarity: np.ndarray
    best: np.ndarray
    query_words: tuple[Word, ...]
    passage_words: tuple[Word, ...]
    passage_id: str = ""
    model: str = ""
    exact: bool = True

    @property
    def contribution(self) -> np.ndarray:
        """(n_query,) float32: each query token's part of the score, the value of its best cell."""
        return np.take_along_axis(self.similarity, self.best[:, None], axis=1)[:, 0]

    @property
    def score(self) -> float:
        """The sum of the contributions, added in float64."""
        return float(self.contribution.sum(dtype=np.float64))

    def to_dict(self) -> dict[str, object]:
        """Return what `xm explain --json` prints: one row per query token, whose similarities sum to the score."""
        best = self.best.tolist()
        rows = zip(self.query.tokens, self.query.kinds, best, self.contribution.tolist(), strict=True)
        return {
            "query": self.query.text,
            "passage_id": self.passage_id,
            "passage": self.passage.text,
            "score": self.score,
            "exact": self.exact,
            "model": self.model,
            "query_adapter": self.query.language.code,
            "passage_adapter": self.passage.language.code,
            "query_language": asdict(self.query.language),
            "passage_language": asdict(self.passage.language),
            "rows": [
                {
                    "token": token,
                    "kind": kind,
                    "best_token": self.passage.tokens[position],
                    "best_index": position,
                    "similarity": similarity,
                }
                for token, kind, position, similarity in rows
            ],
        }

    def to_csv(self) -> str:
        """Return the rows of `to_dict` as comma-separated values with a header line.

        A token that a spreadsheet would run as a formula gets an apostrophe in front.
        """
        text = io.StringIO()
        rows = self.to_dict()["rows"]
        writer = csv.DictWriter(text, fieldnames=("token", "kind", "best_token", "best_index", "similarity"))
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {name: _plain_cell(row[name]) for name in ("token", "best_token")})
        return text.getvalue()

    def to_html(self) -> str:
        """Return the alignment figure as one self-contained HTML page."""
        from xm.figures import alignment as figure

        return figure.html(self)

    def show(self) -> None:
        """Display the alignment figure in the notebook that runs this, or in a browser."""
        from xm.figures import alignment as figure

        figure.show(self)


@dataclass(frozen=True, eq=False)
class TokenMap:
    """Token embeddings laid out in two dimensions.

    xy: (n_tokens, 2) float32. One passage id ("" for the query), token, language and kind per point; `contexts` is
    the text around each token; n_corpus_tokens is how many tokens the sample was drawn from; the last n_sample points
    are that sample, those before it belong to the query and its hits.
    """

    xy: np.ndarray
    passage_ids: tuple[str, ...]
    tokens: tuple[str, ...]
    languages: tuple[str, ...]
    kinds: tuple[Kind, ...]
    contexts: tuple[str, ...]
    token_indices: tuple[int, ...]
    method: Literal["pca", "umap"]
    seed: int
    n_corpus_tokens: int
    n_sample: int = 0


def _plain_cell(text: str) -> str:
    """Keep a spreadsheet from reading a text as a formula; a single sign ("-") is none."""
    return f"'{text}" if len(text) > 1 and text[0] in "=+-@\t\r" else text


def digest_of(parts: Iterable[str]) -> str:
    """Hash strings so that no two different sequences collide by concatenation (SHA-256, 64 hex digits)."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


@dataclass(frozen=True, eq=False)
class LanguageChange:
    """What training a language's adapter changed; losses in nats.

    losses: (n_steps,) float32, in training, NaN of a step with another task. before, after: on held-out text, through
    the adapter of the nearest language and through the new one. cosines: a sentence, (n_tokens,) in [-1, 1], of
    embeddings before and after. task: what the losses are of, masked pieces or BM25's ranking. found: the share of
    held-out parallel sentences that find their translation before all others, before and after; empty without any.
    """

    code: str
    nearest: str
    losses: np.ndarray
    before: float
    after: float
    tokens: tuple[tuple[str, ...], ...]
    cosines: tuple[np.ndarray, ...]
    task: Literal["masked", "ranking"] = "masked"
    found: tuple[float, ...] = ()
