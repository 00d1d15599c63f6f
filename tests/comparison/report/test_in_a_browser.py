"""The page in a headless Chromium, on a desk and on a phone. `test_page.py` checks what needs no browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softprompt.comparison.report.colours import DARK, LIGHT
from tests.comparison.report.browser import Browser, find_browser

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
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium is installed, and SOFTPROMPT_BROWSER names none: the page is not opened in a browser")
    opened = Browser(path)
    yield opened
    opened.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", ["full", "failing", "long names"])
def test_it_fits_and_the_console_is_silent(browser: Browser, folder_of: Callable[[str], Path], name: str, width: int):
    browser.open(folder_of(name) / "report.html", width)
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(STICKING_OUT) == ""
    assert browser.evaluate(CLIPPED) == ""


def test_it_fetches_nothing_but_itself(browser: Browser, folder_of: Callable[[str], Path]):
    browser.open(folder_of("full") / "report.html", DESK)
    fetched = [url for url in browser.requests() if not url.startswith("data:")]
    assert fetched == [(folder_of("full") / "report.html").resolve().as_uri()]


@pytest.mark.parametrize(("dark", "colours"), [(False, LIGHT), (True, DARK)])
def test_page_and_plots_follow_the_reader_s_theme(
    browser: Browser, folder_of: Callable[[str], Path], dark: bool, colours: dict[str, str]
):
    browser.open(folder_of("full") / "report.html", DESK, dark=dark)
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == rgb(colours["paper"])
    inks = browser.evaluate('[...document.querySelectorAll("svg text")].map(e => getComputedStyle(e).fill).join(";")')
    assert set(inks.split(";")) == {rgb(colours["ink"]), rgb(colours["muted"])}


def rgb(colour: str) -> str:
    """A colour as browsers tell it."""
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"
