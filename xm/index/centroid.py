"""The centroid index: compressed embeddings, inverted lists, and a search that scores few passages exactly.

ColBERTv2 (Santhanam et al. 2022), appendix A. Parameters are arguments of each call; nothing sticks.
Leaves out: the stages themselves (xm.index.stages), explaining them (xm.index.trace), files (xm.index.store).
"""

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xm.errors import XmError
from xm.index.codec import Codec, decode, encode, train_codec
from xm.index.lists import InvertedLists, lists_of
from xm.index.ranking import check_k, check_query, rank_hits
from xm.index.stages import (
    Candidates,
    Stages,
    check_options,
    compare_centroids,
    find_candidates,
    keep_best,
    probe_centroids,
    score_by_centroids,
    score_exactly,
)
from xm.index.table import PassageTable
from xm.index.threads import one_blas_thread
from xm.options import CodecOptions, SearchOptions
from xm.types import Codes, Corpus, Hit, TokenEmbeddings


@dataclass(frozen=True, eq=False)
class CentroidIndex:
    """The compressed embeddings of a corpus; read only. Make one with `build_centroid`.

    codes: of all stored tokens, deleted passages included. lists: the inverted lists of all stored passages, in one or
    more parts; the arrays of both may be memory-mapped.
    """

    table: PassageTable
    codec: Codec
    codes: Codes
    lists: tuple[InvertedLists, ...]

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
        return self.codec.dim

    @property
    def n_bytes(self) -> int:
        """Bytes of the codes."""
        return int(self.codes.centroid_ids.nbytes + self.codes.residuals.nbytes)

    @property
    def bytes_per_token(self) -> dict[str, float]:
        """Bytes a stored token takes in its codes and in the inverted lists (their share); the codec is not counted."""
        codes = self.codes.centroid_ids.nbytes + self.codes.residuals.nbytes
        lists = sum(part.passages.nbytes + part.starts.nbytes for part in self.lists)
        n_tokens = len(self.codes.centroid_ids)
        return {"codes": codes / n_tokens, "lists": lists / n_tokens}

    def search(self, query_vectors: np.ndarray, *, k: int, options: SearchOptions = SearchOptions()) -> tuple[Hit, ...]:
        """Rank the passages that the probed centroids lead to by MaxSim on decoded embeddings.

        Args:
            query_vectors: (n_query, dim) float32, unit rows.
            k: hits wanted; there are fewer where fewer passages are found.
            options: how far to look.

        Returns:
            Hits by falling score, ties by passage id, none of them exact. A hit's score is the very float of its
            alignment with the decoded passage.

        Raises:
            XmError: k or an option is out of range, or the query's shape does not fit.
        """
        return self.stages(query_vectors, k=k, options=options).hits

    def stages(self, query_vectors: np.ndarray, *, k: int, options: SearchOptions = SearchOptions()) -> Stages:
        """Search as `search` does, and return what each stage saw."""
        check_k(k)
        check_options(options)
        check_query(query_vectors, dim=self.dim, model=self.model)
        with one_blas_thread():
            clock = [time.perf_counter()]
            cells = compare_centroids(self.codec, query_vectors, self.listed)
            probe = probe_centroids(cells, int(self.listed.sum()), options)
            clock.append(time.perf_counter())
            candidates = find_candidates(self.lists, probe, self.is_live)
            clock.append(time.perf_counter())
            kept = keep_best(candidates, max(k, options.n_candidates))
            clock.append(time.perf_counter())
            by_centroids = score_by_centroids(cells, self.codes.centroid_ids, self._bounds_of(kept.places))
            kept = Candidates(kept.places, by_centroids)
            scored = keep_best(kept, max(k, options.n_exact))
            clock.append(time.perf_counter())
            exact = score_exactly(self.codec, self.codes, self._bounds_of(scored.places), query_vectors)
            hits = rank_hits(
                query_vectors, exact, k, read=lambda place: self._read(int(scored.places[place])), exact=False
            )
            clock.append(time.perf_counter())
        seconds = dict(zip(("probe", "candidates", "keep", "centroids", "exact"), np.diff(clock).tolist(), strict=True))
        return Stages(probe, candidates, kept, scored, exact, hits, seconds)

    def score_all(self, query_vectors: np.ndarray) -> np.ndarray:
        """Score every passage on its decoded embeddings: (n_passages,) float64, in the corpus's order."""
        check_query(query_vectors, dim=self.dim, model=self.model)
        return score_exactly(self.codec, self.codes, self.table.bounds, query_vectors)

    def reconstruct(self, passage_id: str) -> TokenEmbeddings:
        """Give back a passage with its decoded embeddings; XmError with near matches if the id is unknown."""
        place = self.place_of(passage_id)
        return self.table.embeddings_of(place, self._rows(place))

    def place_of(self, passage_id: str) -> int:
        """Return where a passage stands in the corpus, from 0; XmError with near matches if the id is unknown."""
        return self.table.place_of(passage_id)

    def _read(self, stored: int) -> tuple[str, np.ndarray]:
        """The id and the decoded vectors of a live passage, by its stored place."""
        place = int(np.searchsorted(self.table.live, stored))
        return self.table.id_of(place), self._rows(place)

    def _bounds_of(self, stored: np.ndarray) -> np.ndarray:
        """The first row of each stored passage and the one after its last, (n, 2)."""
        return np.stack([self.table.starts[stored], self.table.starts[stored + 1]], axis=1)

    def _rows(self, place: int) -> np.ndarray:
        """The decoded vectors of one passage."""
        rows = self.table.rows_of(place)
        return decode(self.codec, Codes(self.codes.centroid_ids[rows], self.codes.residuals[rows]))

    @cached_property
    def listed(self) -> np.ndarray:
        """(n_centroids,) bool: whether any passage, deleted or not, has a token at the centroid."""
        return sum(part.lengths() for part in self.lists) > 0

    @cached_property
    def is_live(self) -> np.ndarray:
        """(n_stored,) bool: false for deleted passages."""
        live = np.zeros(self.table.n_stored, dtype=bool)
        live[self.table.live] = True
        return live


def build_centroid(
    table: PassageTable, vectors: np.ndarray, *, options: CodecOptions = CodecOptions()
) -> CentroidIndex:
    """Train a codec on the embeddings of a corpus, compress them, and invert the codes.

    Args:
        table: the passages, none of them deleted.
        vectors: (n_stored_tokens, dim) float, unit rows; may be memory-mapped.
        options: of the codec.

    Raises:
        XmError: the vectors do not fit the table, or the options ask for what cannot be.
    """
    if len(vectors) != table.n_stored_tokens:
        raise XmError(
            f"{len(vectors):,} embeddings came with a table of {table.n_stored_tokens:,} tokens; give one each"
        )
    codec = train_codec(vectors, options=options)
    codes = encode(codec, vectors)
    lists = lists_of(codes.centroid_ids, table.starts, n_centroids=codec.n_centroids)
    return CentroidIndex(table, codec, codes, (lists,))
