"""The flat index: exact MaxSim over every token of a corpus. It is the truth other indexes are held to.

Leaves out: files (xm.index.store), models (xm.search), approximate search (xm.index.centroid).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xm.index.kernels import score_passages
from xm.index.ranking import check_k, check_query, rank_hits
from xm.index.table import PassageTable, table_of
from xm.index.threads import one_blas_thread
from xm.types import Corpus, Hit, TokenEmbeddings


@dataclass(frozen=True, eq=False)
class FlatIndex:
    """The token embeddings of a corpus, passage after passage; read only. Make one with `build_flat`.

    vectors: (n_stored_tokens, dim) unit rows, those of deleted passages included; float32, or float16 rounded from it.
    """

    table: PassageTable
    vectors: np.ndarray

    @property
    def corpus(self) -> Corpus:
        """The live passages."""
        return self.table.corpus

    @property
    def model(self) -> str:
        """Name of the checkpoint that encoded the passages."""
        return self.table.model

    @property
    def revision(self) -> str:
        """That checkpoint's content digest or hub revision."""
        return self.table.revision

    @property
    def n_tokens(self) -> int:
        """Tokens of all passages together."""
        return self.table.n_tokens

    @property
    def n_passages(self) -> int:
        """Passages in the corpus."""
        return self.table.n_passages

    @property
    def dim(self) -> int:
        """Numbers in a token embedding."""
        return self.vectors.shape[1]

    @property
    def n_bytes(self) -> int:
        """Bytes of the token embeddings."""
        return int(self.vectors.nbytes)

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
        check_k(k)
        with one_blas_thread():
            scores = self.score_all(query_vectors)
            return rank_hits(
                query_vectors, scores, k, read=lambda place: (self.table.id_of(place), self._rows(place)), exact=True
            )

    def score_all(self, query_vectors: np.ndarray) -> np.ndarray:
        """Score every passage: (n_passages,) float64, in the corpus's order."""
        check_query(query_vectors, dim=self.dim, model=self.model)
        # Deleted passages are scored with the others: they lie between them, and compacting removes them.
        return score_passages(query_vectors, self.vectors, self.table.starts)[self.table.live]

    def reconstruct(self, passage_id: str) -> TokenEmbeddings:
        """Give back a passage as the encoder returned it; XmError with near matches if the id is unknown."""
        place = self.place_of(passage_id)
        return self.table.embeddings_of(place, self._rows(place))

    def place_of(self, passage_id: str) -> int:
        """Return where a passage stands in the corpus, from 0; XmError with near matches if the id is unknown."""
        return self.table.place_of(passage_id)

    def _rows(self, place: int) -> np.ndarray:
        """The vectors of one passage, float32."""
        return np.asarray(self.vectors[self.table.rows_of(place)], dtype=np.float32)


def build_flat(
    corpus: Corpus,
    embeddings: Sequence[TokenEmbeddings],
    *,
    model: str,
    revision: str,
    dtype: Literal["float32", "float16"] = "float32",
) -> FlatIndex:
    """Lay the embeddings of a corpus's passages end to end.

    Args:
        corpus: the passages.
        embeddings: one per passage, in the corpus's order, all of one dim.
        model: name of the checkpoint that encoded them.
        revision: its content digest or hub revision.
        dtype: float16 takes half the room and rounds each number to 11 bits; scores are then those of the rounded.

    Raises:
        CorpusError: the corpus is empty, or a passage has no token.
        XmError: the embeddings do not belong to these passages, or hold numbers that are not finite.
    """
    table = table_of(corpus, embeddings, model=model, revision=revision)
    return FlatIndex(table, np.concatenate([item.vectors for item in embeddings], dtype=dtype, casting="same_kind"))
