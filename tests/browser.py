"""Browser for tests of pages: the machine's Chromium, headless."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Return the path of Chromium. Without it the tests fail instead of being skipped."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("the tests of the playground need Chromium: run `make browser`, or set CHROMIUM to its path")
    return found


@contextmanager
def browsing() -> Iterator[Browser]:
    """Start the browser. Meanwhile this thread has a running asyncio loop, so other async tests cannot share it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium())
        yield browser
        browser.close()
