"""The playground in a browser: how tests open it, use it and look at it."""

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
    """The page in a tab of its own. It may ask nobody but its server, and nothing in it may go wrong unseen."""
    context: BrowserContext = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.emulate_media(**options)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda asked: None if asked.url.startswith(server.url) else wrong.append(asked.url))
    page.goto("/")
    yield page
    context.close()
    assert not wrong


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
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in Axe().run(page).response["violations"]]


@contextmanager
def held(server: Running, steps: int, rows: int = 1) -> Iterator[None]:
    """From when so many rows are there the model makes so many steps and then none, until this ends."""
    engine, goes, there = server.parts.backend.worker.engine, threading.Semaphore(steps), threading.Event()
    step = engine.step

    def patiently() -> None:
        if server.rows >= rows:
            there.set()
        if there.wait(0.001):  # otherwise the thread goes on to take what else came
            goes.acquire()
            step()

    engine.step = patiently  # type: ignore[method-assign]
    try:
        yield
    finally:
        del engine.step
        there.set()
        goes.release()  # whoever waits in it goes on
