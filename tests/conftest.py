"""What every test shares: torch on one thread, one headless browser, and what the command line runs on.

Tiny models gain nothing from two threads, and on a busy machine spinning threads make them ten times slower.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def fake_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The encoder that every command finds as "fake", and by default; there is an "other" too, and an empty cache."""
    from tests import fakes  # brings numpy, which reads the environment above

    monkeypatch.setenv("XM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XM_MODEL", "fake")
    encoder = fakes.FakeEncoder()
    fakes.put_in_place(monkeypatch, encoder, fakes.FakeEncoder(model="other", revision="1" * 16))
    return encoder


@pytest.fixture
def corpus_file(tmp_path: Path) -> str:
    """A file of four English passages, those of tests.command_line."""
    from tests.command_line import TEXTS

    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium, one for all tests: Playwright can be started only once a process.

    Without one the tests are skipped, except under CI, where that would hide a failure.
    """
    path = _find_browser()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI is set, and no browser is here; install chromium")
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path,
            # Every name but this machine's resolves to nothing. (playwright's route would switch the cache off.)
            args=[
                *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield opened
        opened.close()


def _find_browser() -> str | None:
    """The browser's path: CHROMIUM if set, Debian's, or whatever is on the path."""
    named = [os.environ.get("CHROMIUM", ""), "/usr/bin/chromium"]
    found = [path for path in named if path and Path(path).is_file()]
    return found[0] if found else shutil.which("chromium") or shutil.which("google-chrome")
