"""The page in a headless Chromium, on a wide screen and on a phone. `test_report_page.py` needs no browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from softprompt.comparison.report.plots.palette import DARK_PALETTE, LIGHT_PALETTE
from tests.browser import browsing

PHONE, DESK = 390, 1200

# Whatever sticks out to the right and does not stand in something that scrolls by itself.
STICKING_OUT = """
[...document.body.querySelectorAll("*")]
  .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
               && !e.closest(".scroll") && !e.closest("svg") && !e.closest(".hidden"))
  .map(e => e.tagName + "." + e.className + ": " + e.textContent.slice(0, 40)).join("\\n")
"""

# The words of the plots that stick out of them.
CLIPPED = """
[...document.querySelectorAll("figure svg text")]
  .filter(e => { const t = e.getBoundingClientRect(), p = e.closest("svg").getBoundingClientRect();
                 return t.right > p.right + 1 || t.left < p.left - 1 || t.top < p.top - 1 || t.bottom > p.bottom + 1 })
  .map(e => e.textContent).join("\\n")
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


class Seen:
    """Open page, with its console messages and its requests."""

    def __init__(self, page: Page):
        self.page = page
        self.said: list[str] = []
        self.fetched: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.fetched.append(request.url))


@contextmanager
def looked_at(browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"] = "light") -> Iterator[Seen]:
    """Open a report in a window of this width."""
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, is_mobile=width == PHONE
    )
    seen = Seen(context.new_page())
    seen.page.goto(report.resolve().as_uri())
    yield seen
    context.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", ["full", "failing", "long names", "wide"])
def test_the_page_fits_the_screen_and_logs_nothing_to_the_console(
    browser: Browser, folder_of: Callable[[str], Path], name: str, width: int
) -> None:
    with looked_at(browser, folder_of(name) / "report.html", width) as seen:
        assert seen.said == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.page.evaluate(STICKING_OUT) == ""
        assert seen.page.evaluate(CLIPPED) == ""


def test_the_page_requests_no_other_resource(browser: Browser, folder_of: Callable[[str], Path]) -> None:
    report = folder_of("full") / "report.html"
    with looked_at(browser, report, DESK) as seen:
        assert [url for url in seen.fetched if not url.startswith("data:")] == [report.resolve().as_uri()]


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT_PALETTE), ("dark", DARK_PALETTE)])
def test_the_page_and_its_plots_follow_the_color_scheme_of_the_browser(
    browser: Browser, folder_of: Callable[[str], Path], scheme: Literal["light", "dark"], colours: dict[str, str]
) -> None:
    with looked_at(browser, folder_of("full") / "report.html", DESK, scheme) as seen:
        paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        inks = seen.page.evaluate('[...document.querySelectorAll("svg text")].map(e => getComputedStyle(e).fill)')
    assert paper == rgb(colours["paper"])
    assert set(inks) == {rgb(colours["ink"]), rgb(colours["muted"])}


def rgb(colour: str) -> str:
    """Format a hexadecimal color as browsers do."""
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"
