"""The flat index: exact MaxSim over every token of a corpus, in numpy. It is the truth other indexes are held to.

Leaves out: files (xm.index.store), models (xm.search), approximate search.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from xm.errors import CorpusError, XmError
from xm.maxsim import maxsim
from xm.types import Corpus, Hit, Kind, TokenEmbeddings

KINDS: tuple[Kind, ...] = get_args(Kind)  # a kind is stored as its place in this tuple
# Tokens scored in one matrix product: 16,384 x 32 float32 is 2 MB, which stays in the processor's cache. Measured on
# 2 million tokens: 0.20 s, against 0.22 s with 4,096 and 0.23 s with 65,536.
_BLOCK_TOKENS = 16_384
# Float32 sums of the same rows differ in their last bits with the place in a block. Everything this close to the last
# hit is scored again passage by passage, so that equal passages get equal scores.
_ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class FlatIndex:
    """The token embeddings of a corpus, passage after passage; read only. Make one with `build_flat`.

    vectors: (n_tokens, dim) float32, unit rows. starts: (n_passages + 1,) int64, the tokens of passage i are
    starts[i] to starts[i + 1]. token_ids: (n_tokens,) int32, places in `pieces`, the distinct token strings.
    offsets: (n_tokens, 2) int32 character spans. kinds: (n_tokens,) uint8, places in KINDS. n_unseen: (n_passages,)
    int64, characters past the length limit.
    """

    corpus: Corpus
    model: str
    revision: str
    vectors: np.ndarray
    starts: np.ndarray
    token_ids: np.ndarray
    pieces: tuple[str, ...]
    offsets: np.ndarray
    kinds: np.ndarray
    n_unseen: np.ndarray

    @property
    def n_tokens(self) -> int:
        """Tokens of all passages together."""
        return len(self.vectors)

    @property
    def n_passages(self) -> int:
        """Passages in the corpus."""
        return len(self.corpus.passages)

    @property
    def dim(self) -> int:
        """Numbers in a token embedding."""
        return self.vectors.shape[1]

    def search(self, query_vectors: np.ndarray, *, k: int) -> tuple[Hit, ...]:
        """Rank passages by exact MaxSim.

        Args:
            query_vectors: (n_query, dim) float32, unit rows.
            k: hits wanted; a smaller corpus gives as many as it has.

        Returns:
            Hits by falling score, ties by passage id. A hit's score is the very float of its alignment.

        Raises:
            XmError: k is below 1, or the query's shape does not fit.
        """
        if k < 1:
            raise XmError(f"k is {k}; ask for at least 1 hit")
        scores = self.score_all(query_vectors)
        k = min(k, self.n_passages)
        last = np.partition(scores, self.n_passages - k)[self.n_passages - k]
        places = np.flatnonzero(scores >= last - _ROUNDING).tolist()
        found = [(-maxsim(query_vectors, self._rows(place)), self._id(place)) for place in places]
        return tuple(
            Hit(passage_id=passage_id, score=-negative, rank=rank)
            for rank, (negative, passage_id) in enumerate(sorted(found)[:k], start=1)
        )

    def score_all(self, query_vectors: np.ndarray) -> np.ndarray:
        """Score every passage: (n_passages,) float64, in the corpus's order. Memory is bounded by one block."""
        if query_vectors.ndim != 2 or query_vectors.shape[1] != self.dim or len(query_vectors) == 0:
            raise XmError(
                f"the query has shape {query_vectors.shape}, this index needs (n_query, {self.dim}) with n_query of 1 "
                f"or more; encode the query with {self.model}"
            )
        if not np.isfinite(query_vectors).all():
            raise XmError("the query's embeddings hold numbers that are not finite; encode the query again")
        scores = np.empty(self.n_passages, dtype=np.float64)
        first = 0
        while first < self.n_passages:
            begin = self.starts[first]
            after = max(first + 1, int(np.searchsorted(self.starts, begin + _BLOCK_TOKENS, side="right")) - 1)
            cells = query_vectors @ self.vectors[begin : self.starts[after]].T
            best = np.maximum.reduceat(cells, self.starts[first:after] - begin, axis=1)
            scores[first:after] = best.sum(axis=0, dtype=np.float64)
            first = after
        return scores

    def reconstruct(self, passage_id: str) -> TokenEmbeddings:
        """Give back a passage as the encoder returned it; XmError with near matches if the id is unknown."""
        place = self.place_of(passage_id)
        passage = self.corpus.passages[place]
        rows = slice(self.starts[place], self.starts[place + 1])
        return TokenEmbeddings(
            text=passage.text,
            vectors=self._rows(place),
            tokens=tuple(self.pieces[token_id] for token_id in self.token_ids[rows].tolist()),
            offsets=np.asarray(self.offsets[rows]),
            kinds=tuple(KINDS[kind] for kind in self.kinds[rows].tolist()),
            language=passage.language,
            n_unseen=int(self.n_unseen[place]),
        )

    def place_of(self, passage_id: str) -> int:
        """Return where a passage stands in the corpus, from 0; XmError with near matches if the id is unknown."""
        if passage_id not in self._places:
            near = difflib.get_close_matches(passage_id, self._places, n=3, cutoff=0.5)
            near = near or list(self._places)[:3]
            raise XmError(
                f"no passage has the id {passage_id!r} among the {self.n_passages} of {self.corpus.name!r}; "
                f"ids here are like {', '.join(map(repr, near))}"
            )
        return self._places[passage_id]

    def _rows(self, place: int) -> np.ndarray:
        """The vectors of one passage."""
        return np.asarray(self.vectors[self.starts[place] : self.starts[place + 1]])

    def _id(self, place: int) -> str:
        """The id of the passage at a place."""
        return self.corpus.passages[place].passage_id

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each passage id stands."""
        return {passage.passage_id: place for place, passage in enumerate(self.corpus.passages)}


def build_flat(corpus: Corpus, embeddings: Sequence[TokenEmbeddings], *, model: str, revision: str) -> FlatIndex:
    """Lay the embeddings of a corpus's passages end to end.

    Args:
        corpus: the passages.
        embeddings: one per passage, in the corpus's order, all of one dim.
        model: name of the checkpoint that encoded them.
        revision: its content digest or hub revision.

    Raises:
        CorpusError: the corpus is empty, or a passage has no token.
        XmError: the embeddings do not belong to these passages, or hold numbers that are not finite.
    """
    _check_embeddings(corpus, embeddings)
    pieces: dict[str, int] = {}
    token_ids = [pieces.setdefault(token, len(pieces)) for item in embeddings for token in item.tokens]
    lengths = [len(item.tokens) for item in embeddings]
    return FlatIndex(
        corpus=corpus,
        model=model,
        revision=revision,
        vectors=np.concatenate([item.vectors for item in embeddings], dtype=np.float32),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        token_ids=np.asarray(token_ids, dtype=np.int32),
        pieces=tuple(pieces),
        offsets=np.concatenate([item.offsets for item in embeddings], dtype=np.int32),
        kinds=np.asarray([KINDS.index(kind) for item in embeddings for kind in item.kinds], dtype=np.uint8),
        n_unseen=np.asarray([item.n_unseen for item in embeddings], dtype=np.int64),
    )


def _check_embeddings(corpus: Corpus, embeddings: Sequence[TokenEmbeddings]) -> None:
    """Refuse embeddings that do not fit the passages one to one."""
    if not corpus.passages:
        raise CorpusError(f"{corpus.name!r} has no passages to index; give a corpus with at least one")
    if len(embeddings) != len(corpus.passages):
        raise XmError(f"{len(corpus.passages)} passages came with {len(embeddings)} token embeddings; give one each")
    dim = embeddings[0].vectors.shape[1]
    for passage, item in zip(corpus.passages, embeddings, strict=True):
        if item.text != passage.text:
            raise XmError(f"the token embeddings given for passage {passage.passage_id!r} are of another text")
        if item.vectors.shape[1] != dim:
            raise XmError(f"passage {passage.passage_id!r} has dim {item.vectors.shape[1]}, those before it {dim}")
        if len(item.tokens) == 0:
            raise CorpusError(f"passage {passage.passage_id!r} has no token to score; remove it from the corpus")
        if not np.isfinite(item.vectors).all():
            raise XmError(f"passage {passage.passage_id!r} has embeddings that are not finite numbers; do not use them")
