"""Keep each visitor's corpus, index and last results on the server, under an id nobody else can guess.

The page's state holds only that id, so nothing of a visitor's can reach another visitor's browser, and Gradio never
copies or hashes an index. Data goes after `ttl_seconds` without use, soon after the visitor leaves, when the room is
needed, or when the visitor presses "Delete my data".
Leaves out: what all visitors share (`xm.ui.shared`).
"""

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xm.errors import XmError
from xm.search import Searcher
from xm.types import Alignment, SearchResult, TokenMap
from xm.ui import words

_log = logging.getLogger(__name__)


class SessionExpired(XmError):
    """A visitor's own data was deleted (time limit or lack of room) before this call."""


@dataclass
class Session:
    """What one visitor has at hand. Changed in place by that visitor's handlers only.

    corpus_key: "parallel", "lecture" or "upload"; "" before the first search. own: the data came from the visitor.
    """

    session_id: str
    model: str
    searcher: Searcher | None = None
    corpus_key: str = ""
    result: SearchResult | None = None
    alignment: Alignment | None = None
    maps: dict[str, TokenMap] = field(default_factory=dict)
    upload: Path | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    last_used: float = 0.0
    left_at: float | None = None

    @property
    def own(self) -> bool:
        """Say whether it holds an index of the visitor's own texts."""
        return self.corpus_key == "upload"

    def keep_upload(self, path: Path | None) -> None:
        """Remember the visitor's file, and delete the one before it."""
        if self.upload is not None and self.upload != path:
            self.upload.unlink(missing_ok=True)
        self.upload = path

    def take(self, corpus_key: str, searcher: Searcher) -> None:
        """Search this from now on; results of what was searched before are no longer of use."""
        self.drop_index()
        self.corpus_key, self.searcher = corpus_key, searcher

    def drop_index(self) -> None:
        """Let go of the index and all that came of it; the corpus's key stays."""
        self.searcher = self.result = self.alignment = None
        self.maps.clear()

    @property
    def n_bytes(self) -> int:
        """Bytes of the visitor's own token embeddings; shared sample indexes count for nobody."""
        return int(self.searcher.index.n_bytes) if self.own and self.searcher is not None else 0


def new_id() -> str:
    """Make an id that cannot be guessed (128 random bits)."""
    return secrets.token_urlsafe(16)


class SessionStore:
    """Sessions by id, oldest use first; safe to call from several threads."""

    def __init__(
        self,
        *,
        model: str,
        ttl_seconds: float = 3600,  # an hour: a lesson with a break
        grace_seconds: float = 300,  # a phone that sleeps or a flaky network also looks like leaving
        max_sessions: int = 200,
        max_bytes: int = 4_000_000_000,  # a quarter of a Space's 16 GB for all visitors' own indexes together
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ttl_seconds = ttl_seconds
        self._model = model
        self._grace_seconds = grace_seconds
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._expired: OrderedDict[str, None] = OrderedDict()
        self._by_page: dict[str, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, session_id: str) -> Session:
        """Return the session of an id, a fresh one if the id is new.

        Raises:
            SessionExpired: once, if the visitor's own data was deleted since the last call.
            XmError: the id is empty: the page has not been given one yet, and visitors must not share one.
        """
        if not session_id:
            raise XmError(words.NO_SESSION)
        with self._lock:
            self._sweep()
            if session_id in self._expired:
                del self._expired[session_id]
                raise SessionExpired(words.SESSION_EXPIRED.format(minutes=round(self.ttl_seconds / 60)))
            session = self._sessions.get(session_id) or Session(session_id, self._model)
            session.last_used, session.left_at = self._clock(), None
            self._sessions[session_id] = session
            self._sessions.move_to_end(session_id)
            self._make_room(keep=session_id)
            return session

    def forget(self, session_id: str) -> None:
        """Delete a session and everything in it; an unknown id is fine."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
            self._expired.pop(session_id, None)
        if session is not None:
            _drop(session)

    def close(self) -> None:
        """Delete everything: the page is stopping."""
        for session_id in list(self._sessions):
            self.forget(session_id)

    def enter(self, page_hash: str) -> str:
        """Make the id of a page that was opened; `page_hash` is Gradio's name for it, which `leave` will know."""
        session_id = new_id()
        with self._lock:
            self._by_page[page_hash] = session_id
        return session_id

    def leave(self, page_hash: str) -> None:
        """Note that a page was closed; the session goes after the grace time unless it is used again."""
        with self._lock:
            session = self._sessions.get(self._by_page.pop(page_hash, ""))
            if session is not None:
                session.left_at = self._clock()
            self._sweep()

    def _sweep(self) -> None:
        """Drop what has outlived its time."""
        now = self._clock()
        for session in list(self._sessions.values()):
            gone = session.left_at is not None and now - session.left_at > self._grace_seconds
            if gone or now - session.last_used > self.ttl_seconds:
                self._expire(session)

    def _make_room(self, *, keep: str) -> None:
        """Drop the sessions unused for longest while there are too many, or too many bytes in them."""
        for session in list(self._sessions.values()):
            n_bytes = sum(other.n_bytes for other in self._sessions.values())
            if len(self._sessions) <= self._max_sessions and n_bytes <= self._max_bytes:
                return
            if session.session_id != keep:
                self._expire(session)

    def _expire(self, session: Session) -> None:
        del self._sessions[session.session_id]
        if session.own:
            self._expired[session.session_id] = None
            while len(self._expired) > 1_000:  # ids only; older visitors will not come back to read the message
                self._expired.popitem(last=False)
        _drop(session)


def _drop(session: Session) -> None:
    """Stop a running build and delete the uploaded file."""
    session.cancel.set()
    session.keep_upload(None)
    _log.info("a session was deleted")
