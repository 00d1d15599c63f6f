"""The browser that tests look at pages with: the machine's own Chromium, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Where it is. A machine without it fails, so that nobody believes the page was looked at."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("the page's tests need Chromium: `make browser` installs it, or name it in CHROMIUM")
    return found


@contextmanager
def browsing() -> Iterator[Browser]:
    """It runs. Meanwhile this thread has a loop of asyncio that runs, so no other test may share it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium())
        yield browser
        browser.close()
