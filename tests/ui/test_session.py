"""Visitors' data: who sees what, for how long, and what is left of it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fakes import FakeEncoder, corpus
from xm.errors import XmError
from xm.search import Searcher, build_index
from xm.ui.session import Session, SessionExpired, SessionStore, new_id


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> SessionStore:
    return SessionStore(model="fake", ttl_seconds=60, grace_seconds=5, max_sessions=3, clock=clock)


def own(session: Session, *, n_bytes: int = 0) -> Session:
    """Give a session an index of its own, as large as wanted."""
    searcher = SimpleNamespace(index=SimpleNamespace(n_bytes=n_bytes))
    session.take("upload", searcher)  # type: ignore[arg-type]
    return session


def test_ids_cannot_be_guessed_and_never_repeat() -> None:
    ids = {new_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert min(map(len, ids)) >= 22  # 128 bits in base 64


def test_the_same_id_gets_the_same_session_and_another_id_another(store: SessionStore) -> None:
    first = store.of("a")
    assert store.of("a") is first
    assert store.of("b") is not first
    assert first.model == "fake"


def test_a_session_goes_after_its_time_without_use_and_says_so_once(store: SessionStore, clock: Clock) -> None:
    session = own(store.of("a"))
    clock.now += 59
    assert store.of("a") is session
    clock.now += 61
    with pytest.raises(SessionExpired, match="Your corpus was deleted"):
        store.of("a")
    assert store.of("a").searcher is None
    assert session.cancel.is_set()


def test_a_session_without_data_of_its_own_expires_in_silence(store: SessionStore, clock: Clock) -> None:
    first = store.of("a")
    clock.now += 61
    assert store.of("a") is not first


def test_the_session_unused_for_longest_makes_room(store: SessionStore, clock: Clock) -> None:
    for session_id in "abc":
        own(store.of(session_id))
        clock.now += 1
    store.of("a")
    store.of("d")
    assert len(store) == 3
    with pytest.raises(SessionExpired):
        store.of("b")


def test_too_many_bytes_make_the_oldest_go_but_never_the_one_in_use(clock: Clock) -> None:
    store = SessionStore(model="fake", max_bytes=1_000, clock=clock)
    own(store.of("a"), n_bytes=600)
    own(store.of("b"), n_bytes=600)
    assert store.of("b").n_bytes == 600
    assert len(store) == 1
    own(store.of("b"), n_bytes=5_000)
    assert store.of("b").n_bytes == 5_000


def test_a_shared_sample_counts_for_nobody() -> None:
    encoder = FakeEncoder()
    session = Session("a", "fake")
    session.take("parallel", Searcher(encoder, build_index(corpus("one text"), encoder)))
    assert session.n_bytes == 0
    assert not session.own


def test_leaving_keeps_the_data_for_a_moment_and_coming_back_keeps_it(store: SessionStore, clock: Clock) -> None:
    session_id = store.enter("page")
    session = own(store.of(session_id))
    store.leave("page")
    clock.now += 4
    assert store.of(session_id) is session
    clock.now += 6
    assert store.of(session_id) is session


def test_the_data_of_one_who_left_goes_after_the_grace_time(store: SessionStore, clock: Clock) -> None:
    session_id = store.enter("page")
    own(store.of(session_id))
    store.leave("page")
    store.leave("a page nobody opened")
    clock.now += 6
    with pytest.raises(SessionExpired):
        store.of(session_id)


def test_a_page_without_an_id_gets_no_session_that_others_could_share(store: SessionStore) -> None:
    with pytest.raises(XmError, match="still starting"):
        store.of("")


def test_forgetting_deletes_index_and_uploaded_file(store: SessionStore, tmp_path: Path) -> None:
    upload, neighbour = tmp_path / "mine.txt", tmp_path / "other.txt"
    neighbour.write_text("not mine", encoding="utf-8")
    upload.write_text("my text", encoding="utf-8")
    session = own(store.of("a"))
    session.upload = upload
    store.forget("a")
    assert not upload.exists()
    assert neighbour.exists()
    assert session.cancel.is_set()
    assert store.of("a").searcher is None
    store.forget("nobody")


def test_taking_another_index_drops_what_came_of_the_former(store: SessionStore) -> None:
    session = own(store.of("a"))
    session.result, session.alignment, session.maps["pca"] = object(), object(), object()  # type: ignore[assignment]
    own(session)
    assert session.result is None
    assert session.alignment is None
    assert session.maps == {}


def test_closing_deletes_everything(store: SessionStore) -> None:
    sessions = [own(store.of(session_id)) for session_id in "abc"]
    store.close()
    assert len(store) == 0
    assert all(session.cancel.is_set() for session in sessions)
