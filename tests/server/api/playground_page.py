"""The playground in a browser: functions to open the page, use it and inspect it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.server.live_server import Running

TEXT = "the film was great fun"
TOKENS = 24

expect.set_options(timeout=20_000)


@contextmanager
def opened(browser: Browser, server: Running, **options: Any) -> Iterator[Page]:
    """Open the page in a new tab; check that it has no errors and sends requests to its server only."""
    context: BrowserContext = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.emulate_media(**options)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda entry: errors.append(entry.text) if "Content Security Policy" in entry.text else None)
    page.on("request", lambda request: None if request.url.startswith(server.url) else errors.append(request.url))
    page.goto("/")
    yield page
    context.close()
    assert not errors


def choose(page: Page, *names: str) -> None:
    for name in names:
        if "@" in name:
            page.get_by_text(f"Other versions of {name.partition('@')[0]}").click()
        page.get_by_role("checkbox", name=re.compile(f"^{name} ")).check()


def ask(page: Page, *names: str, tokens: int = TOKENS) -> None:
    choose(page, *names)
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_label("Max tokens").fill(str(tokens))
    page.get_by_role("button", name="Ask", exact=True).click()


def answered(page: Page, number: int, of: int) -> None:
    expect(page.locator("#status")).to_have_text(f"{number} of {of} answered")


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name, exact=True)


def violations(page: Page) -> list[str]:
    return [f"{issue['id']}: {issue['nodes'][0]['html']}" for issue in Axe().run(page).response["violations"]]


@contextmanager
def held(server: Running, steps: int, rows: int = 1) -> Iterator[None]:
    """Hold the engine inside the `with` block after `steps` steps, counted once it has `rows` sequences."""
    engine, permits, is_full = server.parts.backend.worker.engine, threading.Semaphore(steps), threading.Event()
    step = engine.step

    def held_step() -> None:
        if server.rows >= rows:
            is_full.set()
        if is_full.wait(0.001):  # otherwise the thread returns, to accept further requests
            permits.acquire()
            step()

    engine.step = held_step  # type: ignore[method-assign]
    try:
        yield
    finally:
        del engine.step
        is_full.set()
        permits.release()  # for a thread that waits in `held_step`
