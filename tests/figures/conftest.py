"""A headless browser for the tests that look at the figure."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium by Playwright. Without one the tests are skipped, except under CI, where that would hide a failure."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        _give_up(f"playwright is not installed: {error}")
    with sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=CHROMIUM if CHROMIUM.exists() else None)
        except Error as error:
            _give_up(f"no browser: {error}")
        yield found
        found.close()


def _give_up(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
