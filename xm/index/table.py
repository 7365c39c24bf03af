"""What an index knows of its passages beside their embeddings: texts, tokens, character spans, which are deleted.

Leaves out: the embeddings (xm.index.flat, xm.index.centroid), files (xm.index.store).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from xm.errors import CorpusError, XmError
from xm.types import Corpus, Kind, TokenEmbeddings

KINDS: tuple[Kind, ...] = get_args(Kind)  # a kind is stored as its place in this tuple


@dataclass(frozen=True, eq=False)
class PassageTable:
    """The passages of an index and their tokens; read only. Make one with `table_of`.

    Deleted passages stay stored until the index is compacted, so a passage has a stored place, which the arrays use,
    and a place in `corpus`, which holds the live ones only. Both count from 0, in the same order.

    starts: (n_stored + 1,) int64, the tokens of stored passage i are rows starts[i] to starts[i + 1]. live:
    (n_passages,) int64, the stored place of each passage of `corpus`, rising. token_ids: (n_stored_tokens,) int32,
    places in `pieces`, the distinct token strings. offsets: (n_stored_tokens, 2) int32 character spans. kinds:
    (n_stored_tokens,) uint8, places in KINDS. n_unseen: (n_stored,) int64, characters past the length limit.
    """

    corpus: Corpus
    model: str
    revision: str
    starts: np.ndarray
    live: np.ndarray
    token_ids: np.ndarray
    pieces: tuple[str, ...]
    offsets: np.ndarray
    kinds: np.ndarray
    n_unseen: np.ndarray

    @property
    def n_passages(self) -> int:
        """Live passages."""
        return len(self.live)

    @property
    def n_stored(self) -> int:
        """Passages, deleted ones included."""
        return len(self.starts) - 1

    @property
    def n_stored_tokens(self) -> int:
        """Tokens of all stored passages, deleted ones included."""
        return len(self.token_ids)

    @cached_property
    def bounds(self) -> np.ndarray:
        """(n_passages, 2) int64: first row, and the row after the last, of each live passage's tokens."""
        return np.stack([self.starts[self.live], self.starts[self.live + 1]], axis=1)

    @cached_property
    def n_tokens(self) -> int:
        """Tokens of the live passages."""
        return int((self.bounds[:, 1] - self.bounds[:, 0]).sum())

    def rows_of(self, place: int) -> slice:
        """Return the token rows of the live passage at a place."""
        first, after = self.bounds[place].tolist()
        return slice(first, after)

    def place_of(self, passage_id: str) -> int:
        """Return where a live passage stands in `corpus`, from 0; XmError with near matches if the id is unknown."""
        if passage_id not in self._places:
            near = difflib.get_close_matches(passage_id, self._places, n=3, cutoff=0.5)
            near = near or list(self._places)[:3]
            raise XmError(
                f"no passage has the id {passage_id!r} among the {self.n_passages} of {self.corpus.name!r}; "
                f"ids here are like {', '.join(map(repr, near))}"
            )
        return self._places[passage_id]

    def id_of(self, place: int) -> str:
        """Return the id of the live passage at a place."""
        return self.corpus.passage_ids[place]

    def embeddings_of(self, place: int, vectors: np.ndarray) -> TokenEmbeddings:
        """Put a passage together again.

        Args:
            place: where the live passage stands in `corpus`.
            vectors: (n, dim) float32, the embeddings of its n tokens.
        """
        passage, rows = self.corpus.passages[place], self.rows_of(place)
        return TokenEmbeddings(
            text=passage.text,
            vectors=vectors,
            tokens=tuple(self.pieces[token_id] for token_id in self.token_ids[rows].tolist()),
            offsets=np.asarray(self.offsets[rows]),
            kinds=tuple(KINDS[kind] for kind in self.kinds[rows].tolist()),
            language=passage.language,
            n_unseen=int(self.n_unseen[self.live[place]]),
        )

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each live passage id stands."""
        return {passage_id: place for place, passage_id in enumerate(self.corpus.passage_ids)}


def table_of(corpus: Corpus, embeddings: Sequence[TokenEmbeddings], *, model: str, revision: str) -> PassageTable:
    """Take from the embeddings of a corpus's passages all but their vectors.

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
    return PassageTable(
        corpus=corpus,
        model=model,
        revision=revision,
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        live=np.arange(len(lengths), dtype=np.int64),
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
