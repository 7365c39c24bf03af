"""What the tests of indexes share."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing twenty files takes half a second on a busy disk, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
