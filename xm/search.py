"""Searching a corpus and explaining what was found: an encoder and an index that belong together.

Leaves out: building an index (xm.building), how passages are scored (xm.index), how results look.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xm.building import BuildProgress, Cancelled, OnProgress, build_index, cached_index, check_model
from xm.compression import compressed, exact_vectors, measure_error
from xm.corpus import read_corpus
from xm.errors import CorpusError, LanguageError, TextError, XmError
from xm.index.centroid import CentroidIndex
from xm.index.codec import Codec
from xm.index.compare import BitsComparison, codecs_like, codecs_of, compare_bits
from xm.index.flat import FlatIndex
from xm.index.members import CentroidTokens, centroid_tokens
from xm.index.store import Index, is_index_folder, open_index
from xm.index.trace import SearchTrace, trace
from xm.index.why import Why, why
from xm.languages import LANGUAGES, choose
from xm.maxsim import align
from xm.options import DEFAULT_MODEL, EncodeOptions, SearchOptions, options_for
from xm.types import Alignment, Hit, LanguageGuess, SearchResult, TokenEmbeddings

if TYPE_CHECKING:
    from xm.encoder import Encoder

__all__ = ["BuildProgress", "Cancelled", "OnProgress", "Searcher", "align_texts", "build_index", "open_searcher"]


@dataclass(frozen=True, eq=False)
class Searcher:
    """An encoder and the index it built, of either kind.

    Raises:
        IndexFolderError: the index was built with another model than the encoder's.
    """

    encoder: "Encoder"
    index: Index

    def __post_init__(self) -> None:
        check_model(self.index, self.encoder)

    def search(
        self, query: str, *, k: int = 10, language: str = "auto", options: SearchOptions | None = None
    ) -> SearchResult:
        """Rank the passages for a query by MaxSim: exactly with a flat index, approximately with a centroid index.

        Args:
            query: what is looked for.
            k: hits wanted; a smaller corpus gives as many as it has.
            language: the query's code, or "auto" to detect it with the index's languages as prior.
            options: how far a centroid index looks; None: SearchOptions(). A flat index always scores everything.

        Returns:
            Hits, the query as encoded, and seconds spent to "detect", "encode" and "score".

        Raises:
            LanguageError: the code is unknown, cannot be detected, or the model has no such adapter.
            TextError: the query is empty.
            XmError: k is below 1, or an option is out of range or of the other kind of index.
        """
        begun = time.perf_counter()
        guess = self._language_of(query, language)
        detected = time.perf_counter()
        embeddings = self.encoder.encode_query(query, guess)
        encoded = time.perf_counter()
        hits = self._hits(embeddings.vectors, k, options)
        scored = time.perf_counter()
        seconds = {"detect": detected - begun, "encode": encoded - detected, "score": scored - encoded}
        return SearchResult(query=embeddings, hits=hits, seconds=seconds)

    def explain(self, query: str | TokenEmbeddings, passage: Hit | str, *, language: str = "auto") -> Alignment:
        """Align a query with a passage of the index, on the embeddings that the index holds.

        Those of a centroid index are decoded ones: the alignment then says exact=False, and adds up to the very score
        of the approximate hit. `compare_bits` puts the exact one beside it.

        Args:
            query: a text, or `result.query`, which saves encoding it again.
            passage: a hit or a passage id.
            language: as for `search`; a query already encoded keeps its own.

        Raises:
            XmError: no passage has this id; near matches are named.
        """
        passage_id = _id_of(passage)
        embeddings = self.index.reconstruct(passage_id)
        query = self.encode_query(query, language=language)
        exact = isinstance(self.index, FlatIndex)
        return align(query, embeddings, passage_id=passage_id, model=self.index.model, exact=exact)

    def encode_query(self, query: str | TokenEmbeddings, *, language: str = "auto") -> TokenEmbeddings:
        """Encode a query as `search` does; one already encoded is given back.

        Raises:
            LanguageError, TextError: as `search`.
            XmError: its embeddings are of another dim.
        """
        if isinstance(query, str):
            query = self.encoder.encode_query(query, self._language_of(query, language))
        if query.vectors.shape[1] != self.index.dim:
            raise XmError(
                f"the query's embeddings have dim {query.vectors.shape[1]}, the index's {self.index.dim}; encode the "
                f"query with {self.index.model}"
            )
        return query

    def why(
        self,
        query: str | TokenEmbeddings,
        passage: Hit | str,
        *,
        k: int = 10,
        language: str = "auto",
        options: SearchOptions | None = None,
    ) -> Why:
        """Say what becomes of any passage in this search of a centroid index: its rank, or where it fell out.

        Raises:
            XmError: no passage has this id, the index is flat, or as `search`.
        """
        index = compressed(self.index)
        vectors = self.encode_query(query, language=language).vectors
        return why(index, vectors, _id_of(passage), k=k, options=options or SearchOptions())

    def trace(
        self,
        query: str | TokenEmbeddings,
        *,
        k: int = 10,
        language: str = "auto",
        options: SearchOptions | None = None,
    ) -> SearchTrace:
        """Search a centroid index, and tell what each stage saw and how long it took.

        Raises:
            XmError: the index is flat, or as `search`.
        """
        index = compressed(self.index)
        return trace(
            index, self.encode_query(query, language=language).vectors, k=k, options=options or SearchOptions()
        )

    def compare_bits(
        self, query: str | TokenEmbeddings, passage: Hit | str, *, k: int = 10, language: str = "auto"
    ) -> BitsComparison:
        """Compare a query and a passage exactly, by centroids alone, and at 1, 2, 4 and 8 bits.

        The passage is ranked among the k best hits. A centroid index has no exact embeddings: the texts of these
        passages are encoded again; its centroids are used, and its own codec for its own bits. For a flat index codecs
        are trained at the first call, as a centroid index of it would train them.

        Raises:
            XmError: no passage has this id, or as `search`.
        """
        query = self.encode_query(query, language=language)
        passage_id = _id_of(passage)
        self.index.place_of(passage_id)  # an unknown id is an error before any work
        ids = [hit.passage_id for hit in self._hits(query.vectors, k, None)]
        ids = ids if passage_id in ids else [*ids, passage_id]
        vectors = exact_vectors(self.index, self.encoder, ids)
        if isinstance(self.index, FlatIndex):
            codecs = self._trained_codecs
        else:
            codecs = codecs_like(self.index.codec, np.concatenate(vectors))
        return compare_bits(codecs, query.vectors, vectors, place=ids.index(passage_id))

    def centroid_tokens(self, centroid_id: int, *, n: int = 10) -> CentroidTokens:
        """Show the tokens that lie at a centroid, in context, the n nearest of each language.

        Raises:
            XmError: there is no such centroid, n is below 1, or the index is flat.
        """
        return centroid_tokens(compressed(self.index), centroid_id, n=n)

    def reconstruction_error(self, *, n_passages: int = 100, seed: int = 42) -> dict[str, float]:
        """Measure what a centroid index loses: encode passages drawn at random again, and compare them to their codes.

        Returns:
            Means over tokens: "cosine" with the decoded embedding, "residual", the absolute difference of a number.

        Raises:
            XmError: the index is flat, or n_passages is below 1.
        """
        index = compressed(self.index)
        return measure_error(index, self.encoder, n_passages=n_passages, seed=seed)

    def _hits(self, query_vectors: np.ndarray, k: int, options: SearchOptions | None) -> tuple[Hit, ...]:
        """Search an index of either kind."""
        if isinstance(self.index, CentroidIndex):
            return self.index.search(query_vectors, k=k, options=options or SearchOptions())
        if options is not None:
            raise XmError("search options are those of a centroid index; a flat one always scores every passage")
        return self.index.search(query_vectors, k=k)

    def _language_of(self, query: str, language: str) -> LanguageGuess:
        """Choose a query's language, the index's languages being likelier than others."""
        return choose(_readable(query, "query"), language, prior=self._languages)

    @cached_property
    def _languages(self) -> tuple[str, ...]:
        """The index's languages, counted once: 50,000 passages take 20 ms."""
        return self.index.corpus.languages

    @cached_property
    def _trained_codecs(self) -> dict[int, Codec]:
        """Codecs of a flat index's embeddings, trained once: k-means takes seconds to minutes."""
        return codecs_of(self.index.vectors)


def open_searcher(
    path: str | Path,
    *,
    model: str | None = None,
    language: str = "auto",
    options: EncodeOptions = EncodeOptions(),
) -> Searcher:
    """Open an index folder, or read, detect, encode and index a corpus in memory (`xm.open`).

    An index made in memory is kept in the cache (XM_CACHE), keyed by everything that decides it, so that the next time
    is quick.

    Args:
        path: an index folder, a corpus folder, or a file of passages.
        model: checkpoint; None means the one an index was built with, and xm-mini for a corpus.
        language: of the passages, "auto" to detect it; an index has settled it already.
        options: how texts are encoded; an index keeps its own clean_punctuation.

    Raises:
        CorpusError, IndexFolderError, CheckpointError, LanguageError: what cannot be read, and why.
    """
    from xm.encoder import load_encoder

    if not is_index_folder(path):
        if not Path(path).exists():
            raise CorpusError(f"there is nothing at {path}; name an index, a corpus folder or a file of passages")
        corpus = read_corpus(path, language=language)
        encoder = load_encoder(model or DEFAULT_MODEL, options=options)
        return Searcher(encoder, cached_index(corpus, encoder))
    if language != "auto":
        raise XmError(f"{path} is an index, whose passages have their languages; leave language at 'auto'")
    index = open_index(path)
    return Searcher(load_encoder(model or index.model, options=options_for(index.revision, options)), index)


def align_texts(
    query: str,
    passage: str,
    *,
    query_language: str = "auto",
    passage_language: str = "auto",
    model: str = DEFAULT_MODEL,
) -> Alignment:
    """Align any query with any passage, each through the adapter of its language (`xm.align_texts`).

    A query whose language cannot be told inherits the passage's, and its guess says so.
    """
    from xm.encoder import load_encoder

    encoder = load_encoder(model)
    # A small checkpoint's languages are likelier than those it has no adapter for.
    prior = encoder.languages if len(encoder.languages) < len(LANGUAGES) else ()
    passage_guess = choose(_readable(passage, "passage"), passage_language, prior=prior)
    nearer_first = dict.fromkeys((passage_guess.code, *prior)) if prior else ()
    try:
        query_guess = choose(_readable(query, "query"), query_language, prior=tuple(nearer_first))
    except LanguageError:
        if query_language != "auto":
            raise
        query_guess = LanguageGuess(passage_guess.code, passage_guess.probability, "inherited", passage_guess.margin)
    encoded = encoder.encode_passages([passage], [passage_guess])[0]
    return align(encoder.encode_query(query, query_guess), encoded, model=encoder.model)


def _readable(text: str, what: str) -> str:
    """Refuse a text that no tokenizer can read."""
    if not text.strip():
        raise TextError(f"the {what} is empty; give at least one word")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError(f"the {what} is no valid Unicode at character {error.start}; type it in UTF-8") from error
    return text


def _id_of(passage: Hit | str) -> str:
    """The id of a hit, or the id itself."""
    return passage.passage_id if isinstance(passage, Hit) else passage
