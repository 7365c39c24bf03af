"""What all visitors of one process share: the encoder, the sample indexes (read-only) and the store of sessions.

Heavy libraries are imported where they are first needed, so that the page is there before torch is.
Leaves out: anything of one visitor (`xm.ui.session`).
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xm import cache
from xm.corpus import read_corpus
from xm.errors import IndexFolderError
from xm.index.store import FORMAT_VERSION, is_index_folder, open_index, save_index
from xm.options import CorpusLimits
from xm.search import BuildProgress, OnProgress, Searcher, build_index
from xm.types import Corpus
from xm.ui import words
from xm.ui.session import SessionStore

if TYPE_CHECKING:
    from xm.encoder import Encoder

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {key: ROOT / "sample_corpora" / key for key in words.SAMPLE_TITLES}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shared:
    """What the handlers of every visitor are given.

    loaded: models that are quick to get now. visited: set once a page is on somebody's screen.
    """

    load_encoder: "Callable[[str], Encoder]"
    model: str
    limits: CorpusLimits
    sessions: SessionStore
    samples: "SampleShelf"
    loaded: set[str] = field(default_factory=set)
    visited: threading.Event = field(default_factory=threading.Event)


class SampleShelf:
    """Sample indexes: built once per process and model, and kept in the cache on disk."""

    def __init__(self) -> None:
        self._ready: dict[tuple[str, str], Searcher] = {}
        self._lock = threading.Lock()
        self._latest: BuildProgress | None = None

    def ready(self, key: str, encoder: "Encoder") -> Searcher | None:
        """Return a sample's searcher if this process has it already."""
        return self._ready.get((key, encoder.revision))

    def open(self, key: str, encoder: "Encoder", *, report: OnProgress) -> Searcher:
        """Return a sample's searcher; build its index if neither this process nor the disk has it.

        Whoever comes while another builds waits, is told the same progress, and may give up (`report` raises).
        """
        while not self._lock.acquire(timeout=0.2):
            if self._latest is not None:
                report(self._latest)
        try:
            if self.ready(key, encoder) is None:
                self._ready[(key, encoder.revision)] = self._open_or_build(key, encoder, report)
            return self._ready[(key, encoder.revision)]
        finally:
            self._latest = None
            self._lock.release()

    def _open_or_build(self, key: str, encoder: "Encoder", report: OnProgress) -> Searcher:
        """Open a sample's index from the cache, or build it and leave it there."""

        def tell(progress: BuildProgress) -> None:
            self._latest = progress
            report(progress)

        corpus = read_corpus(SAMPLES[key])
        folder = cache.entry_folder(*_key(corpus, encoder))
        if folder is not None and is_index_folder(folder):
            try:
                index = open_index(folder)
                cache.touch(folder)
                return Searcher(encoder, index)
            except IndexFolderError as error:
                _log.warning("a cached sample index cannot be used and is built anew: %s", error)
        index = build_index(corpus, encoder, on_progress=tell)
        if folder is not None:
            try:
                save_index(index, folder)
            except IndexFolderError as error:
                _log.warning("a sample index is not kept for next time: %s", error)
        return Searcher(encoder, index)


def _key(corpus: Corpus, encoder: "Encoder") -> tuple[str, ...]:
    """Name an index by all its vectors depend on: texts, adapters, model, revision, precision and file format."""
    codes = ",".join(passage.language.code for passage in corpus.passages)
    return ("sample", str(FORMAT_VERSION), corpus.digest, codes, encoder.model, encoder.revision, encoder.precision)
