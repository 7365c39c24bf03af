"""Searching a corpus and explaining what was found: an encoder and an index that belong together.

Leaves out: how texts are encoded (xm.encoder), how passages are scored (xm.index.flat), how results look.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xm import cache
from xm.corpus import read_corpus
from xm.errors import CorpusError, IndexFolderError, LanguageError, TextError, XmError
from xm.index.flat import FlatIndex, build_flat
from xm.index.store import FORMAT_VERSION, is_index_folder, open_index, save_index
from xm.languages import LANGUAGES, choose
from xm.maxsim import align
from xm.options import DEFAULT_MODEL
from xm.types import Alignment, Corpus, Hit, LanguageGuess, SearchResult, TokenEmbeddings

if TYPE_CHECKING:
    from xm.encoder import Encoder

_log = logging.getLogger(__name__)


class Cancelled(XmError):
    """Somebody asked to stop: raise it in `on_progress` to end a build; nothing built before is touched."""


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is: passages done of all in this stage, and passages done by language (XMOD codes)."""

    stage: Literal["encode", "write"]
    done: int
    total: int
    languages: dict[str, int]


OnProgress = Callable[[BuildProgress], None]


@dataclass(frozen=True, eq=False)
class Searcher:
    """An encoder and the index it built.

    Raises:
        IndexFolderError: the index was built with another model than the encoder's.
    """

    encoder: "Encoder"
    index: FlatIndex

    def __post_init__(self) -> None:
        # The revision decides: one checkpoint may go by the name of its folder and by its name on the hub.
        if self.encoder.revision != self.index.revision or self.encoder.dim != self.index.dim:
            raise IndexFolderError(
                f"this index was built with {self.index.model} (revision {self.index.revision[:12]}, dim "
                f"{self.index.dim}), and cannot be searched with {self.encoder.model} (revision "
                f"{self.encoder.revision[:12]}, dim {self.encoder.dim}); use the former or build the index again"
            )

    def search(self, query: str, *, k: int = 10, language: str = "auto") -> SearchResult:
        """Rank the passages for a query by exact MaxSim.

        Args:
            query: what is looked for.
            k: hits wanted; a smaller corpus gives as many as it has.
            language: the query's code, or "auto" to detect it with the index's languages as prior.

        Returns:
            Hits, the query as encoded, and seconds spent to "detect", "encode" and "score".

        Raises:
            LanguageError: the code is unknown, cannot be detected, or the model has no such adapter.
            TextError: the query is empty.
            XmError: k is below 1.
        """
        begun = time.perf_counter()
        guess = self._language_of(query, language)
        detected = time.perf_counter()
        embeddings = self.encoder.encode_query(query, guess)
        encoded = time.perf_counter()
        hits = self.index.search(embeddings.vectors, k=k)
        scored = time.perf_counter()
        seconds = {"detect": detected - begun, "encode": encoded - detected, "score": scored - encoded}
        return SearchResult(query=embeddings, hits=hits, seconds=seconds)

    def explain(self, query: str | TokenEmbeddings, passage: Hit | str, *, language: str = "auto") -> Alignment:
        """Align a query with a passage of the index, exactly.

        Args:
            query: a text, or `result.query`, which saves encoding it again.
            passage: a hit or a passage id.
            language: as for `search`; a query already encoded keeps its own.

        Raises:
            XmError: no passage has this id; near matches are named.
        """
        passage_id = passage.passage_id if isinstance(passage, Hit) else passage
        embeddings = self.index.reconstruct(passage_id)
        if isinstance(query, str):
            query = self.encoder.encode_query(query, self._language_of(query, language))
        if query.vectors.shape[1] != self.index.dim:
            raise XmError(
                f"the query's embeddings have dim {query.vectors.shape[1]}, the index's {self.index.dim}; encode the "
                f"query with {self.index.model}"
            )
        return align(query, embeddings, passage_id=passage_id, model=self.index.model)

    def _language_of(self, query: str, language: str) -> LanguageGuess:
        """Choose a query's language, the index's languages being likelier than others."""
        return choose(_readable(query, "query"), language, prior=self._languages)

    @cached_property
    def _languages(self) -> tuple[str, ...]:
        """The index's languages, counted once: 50,000 passages take 20 ms."""
        return self.index.corpus.languages


def build_index(
    corpus: Corpus, encoder: "Encoder", *, folder: str | Path | None = None, on_progress: OnProgress | None = None
) -> FlatIndex:
    """Encode every passage through the adapter of its language and index the lot.

    Args:
        corpus: at least one passage.
        encoder: gives the token embeddings.
        folder: where the index is also written, replacing the index that is there, if any, at the very end.
        on_progress: told after each passage; what it raises ends the build and leaves `folder` as it was.

    Raises:
        CorpusError: the corpus is empty.
        LanguageError: the model has no adapter for a passage's language.
        IndexFolderError: `folder` cannot be written.
    """
    if not corpus.passages:
        raise CorpusError(f"{corpus.name!r} has no passages to index; give a corpus with at least one")
    report = on_progress or (lambda progress: None)
    total = len(corpus.passages)
    done: dict[str, int] = {}
    embeddings: dict[int, TokenEmbeddings] = {}
    texts = [passage.text for passage in corpus.passages]
    report(BuildProgress("encode", 0, total, {}))
    # Closing the stream stops the encoder at once, also when `report` raises.
    with closing(encoder.stream_passages(texts, [passage.language for passage in corpus.passages])) as stream:
        for place, item in stream:
            embeddings[place] = item
            code = corpus.passages[place].language.code
            done[code] = done.get(code, 0) + 1
            report(BuildProgress("encode", len(embeddings), total, dict(done)))
    report(BuildProgress("write", 0, total, dict(done)))
    in_order = [embeddings.pop(place) for place in range(total)]
    index = build_flat(corpus, in_order, model=encoder.model, revision=encoder.revision)
    report(BuildProgress("write", total, total, dict(done)))
    if folder is not None:
        save_index(index, folder)
    return index


def open_searcher(path: str | Path, *, model: str | None = None, language: str = "auto") -> Searcher:
    """Open an index folder, or read, detect, encode and index a corpus in memory (`xm.open`).

    An index made in memory is kept in the cache (XM_CACHE), keyed by everything that decides it, so that the next time
    is quick.

    Args:
        path: an index folder, a corpus folder, or a file of passages.
        model: checkpoint; None means the one an index was built with, and xm-mini for a corpus.
        language: of the passages, "auto" to detect it; an index has settled it already.

    Raises:
        CorpusError, IndexFolderError, CheckpointError, LanguageError: what cannot be read, and why.
    """
    from xm.encoder import load_encoder

    if not is_index_folder(path):
        if not Path(path).exists():
            raise CorpusError(f"there is nothing at {path}; name an index, a corpus folder or a file of passages")
        corpus = read_corpus(path, language=language)
        encoder = load_encoder(model or DEFAULT_MODEL)
        return Searcher(encoder, _index_of(corpus, encoder))
    if language != "auto":
        raise XmError(f"{path} is an index, whose passages have their languages; leave language at 'auto'")
    index = open_index(path)
    return Searcher(load_encoder(model or index.model), index)


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


def _index_of(corpus: Corpus, encoder: "Encoder") -> FlatIndex:
    """Find a corpus's index in the cache, or build it and leave it there."""
    guesses = [str(asdict(passage)) for passage in corpus.passages]
    key = ("index", str(FORMAT_VERSION), encoder.model, encoder.revision, encoder.precision, corpus.name, *guesses)
    folder = cache.entry_folder(*key)
    if folder is not None and is_index_folder(folder):
        try:
            index = open_index(folder)
            cache.touch(folder)
            return index
        except IndexFolderError as error:
            _log.warning("a cached index cannot be used and is built again: %s", error)
    index = build_index(corpus, encoder)
    if folder is None:
        return index
    try:
        save_index(index, folder)
    except IndexFolderError as error:
        _log.warning("the index is not kept for next time: %s", error)
        return index
    cache.trim(keep=folder)
    return open_index(folder)
