"""What every plot of a report is drawn on, and how it becomes files and a part of the page. It knows no way.

The margins are fixed, not found: a plot is as wide as a phone shows legibly, whatever stands in it.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.colours import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches. At the page's widest a plot takes half of it, on a phone all of it.
WIDTH, TOP, BOTTOM = 4.1, 0.66, 0.46
TEXT, SMALL = 9.0, 8.0

#: Fonts with Chinese, Japanese and Korean, which ways and values of a sweep may be named in; taken where installed.
FURTHER_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei")


@dataclass(frozen=True)
class Chart:
    """A plot.

    Attributes:
        name: of its files.
        title: what stands above it.
        section: the page's section that it stands in.
        summary: what is seen, for those who do not see it.
        figure: the drawing.
    """

    name: str
    title: str
    section: str
    summary: str
    figure: Figure


@contextmanager
def house_style() -> Iterator[None]:
    """Draw within this: text as it is written, a dollar no formula, and the same picture from the same figures."""
    from matplotlib import font_manager, rc_context

    installed = {font.name for font in font_manager.fontManager.ttflist}
    style: Any = {
        "font.family": ["DejaVu Sans", *(name for name in FURTHER_FONTS if name in installed), "sans-serif"],
        "font.size": TEXT,
        "text.parse_math": False,
        "text.color": LIGHT["ink"],
        "svg.fonttype": "none",
        "svg.hashsalt": "softprompt",
    }
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")  # the page's reader may have the font
        yield


def canvas(
    title: str, note: str, height: float, left: float = 0.45, right: float = 0.12, bottom: float = BOTTOM
) -> tuple[Figure, Axes]:
    """An empty plot under its title, with a line that says what is drawn; sizes are inches."""
    from matplotlib.figure import Figure

    tall = height + TOP + bottom
    figure = Figure(figsize=(WIDTH, tall), facecolor=LIGHT["paper"])
    axes = figure.add_axes((left / WIDTH, bottom / tall, 1 - (left + right) / WIDTH, height / tall))
    figure.text(0.06 / WIDTH, 1 - 0.2 / tall, title, weight="bold", size=TEXT + 1.5, va="center")
    figure.text(0.06 / WIDTH, 1 - 0.42 / tall, note, color=LIGHT["muted"], size=SMALL, va="center")
    axes.set_facecolor(LIGHT["paper"])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT["muted"])
    axes.tick_params(colors=LIGHT["muted"], length=0, labelsize=SMALL)
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def below(axes: Axes, words: str) -> None:
    """Say what runs from left to right."""
    axes.set_xlabel(words, color=LIGHT["muted"], size=SMALL, loc="right")


def picture(figure: Figure, form: str) -> bytes:
    """A plot as a file's content, `png` or `svg`; the same plot gives the same bytes."""
    content = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None} if form == "svg" else {"Software": None}
    with house_style():
        figure.savefig(content, format=form, dpi=200, metadata=nothing)
    return content.getvalue()


def inline(chart: Chart, svg: bytes, label: str) -> str:
    """An SVG file's content as a part of the page: in the page's colours and font, and with no id that another has."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening = re.search(r'viewBox="[^"]*"', text)
    box = opening.group() if opening else ""
    text = f'<svg {box} role="img" aria-labelledby="{label}">' + text[text.index(">") + 1 :]
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{chart.name}-", text)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)  # it would style all of the page
    text = re.sub(r"font: (?:(bold|\d+) )?([\d.]+)px [^;\"]*", _font, text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for role, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{role})")
    return text


def _font(found: re.Match[str]) -> str:
    weight = f"; font-weight: {found.group(1)}" if found.group(1) else ""
    return f"font-size: {found.group(2)}px{weight}"
