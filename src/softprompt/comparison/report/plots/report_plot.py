"""The figure and style of every plot of a report, its files, and its inline SVG for the page.

The margins are fixed and not computed: every plot has the width that a phone shows legibly.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.plots.palette import LIGHT_PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Sizes in inches. A plot takes half the width of a wide page, and the whole width of a phone.
FIGURE_WIDTH, TOP_MARGIN, BOTTOM_MARGIN = 4.1, 0.66, 0.46
TEXT_SIZE, SMALL_TEXT_SIZE = 9.0, 8.0

#: Fonts with Chinese, Japanese and Korean characters for the names of methods and values, used if installed.
FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei")


@dataclass(frozen=True)
class ReportPlot:
    """A plot.

    Attributes:
        name: name of its files, without extension.
        title: title above the plot.
        section: section of the page, `price` or `otherwise`.
        summary: description for readers who do not see the plot.
        figure: matplotlib figure.
    """

    name: str
    title: str
    section: str
    summary: str
    figure: Figure


@contextmanager
def use_plot_style() -> Iterator[None]:
    """Apply the plot style within a `with` block: no math text, and reproducible output."""
    from matplotlib import font_manager, rc_context

    installed = {font.name for font in font_manager.fontManager.ttflist}
    style: Any = {
        "font.family": ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed), "sans-serif"],
        "font.size": TEXT_SIZE,
        "text.parse_math": False,
        "text.color": LIGHT_PALETTE["ink"],
        "svg.fonttype": "none",
        "svg.hashsalt": "softprompt",
    }
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")  # the page's reader may have the font
        yield


def create_axes(
    title: str,
    subtitle: str,
    height: float,
    left_margin: float = 0.45,
    right_margin: float = 0.12,
    bottom_margin: float = BOTTOM_MARGIN,
) -> tuple[Figure, Axes]:
    """Create an empty plot with a title and a subtitle. Sizes are in inches."""
    from matplotlib.figure import Figure

    total_height = height + TOP_MARGIN + bottom_margin
    figure = Figure(figsize=(FIGURE_WIDTH, total_height), facecolor=LIGHT_PALETTE["paper"])
    axes = figure.add_axes(
        (
            left_margin / FIGURE_WIDTH,
            bottom_margin / total_height,
            1 - (left_margin + right_margin) / FIGURE_WIDTH,
            height / total_height,
        )
    )
    figure.text(0.06 / FIGURE_WIDTH, 1 - 0.2 / total_height, title, weight="bold", size=TEXT_SIZE + 1.5, va="center")
    figure.text(
        0.06 / FIGURE_WIDTH,
        1 - 0.42 / total_height,
        subtitle,
        color=LIGHT_PALETTE["muted"],
        size=SMALL_TEXT_SIZE,
        va="center",
    )
    axes.set_facecolor(LIGHT_PALETTE["paper"])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT_PALETTE["muted"])
    axes.tick_params(colors=LIGHT_PALETTE["muted"], length=0, labelsize=SMALL_TEXT_SIZE)
    axes.grid(axis="y", color=LIGHT_PALETTE["rule"], linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def set_x_label(axes: Axes, text: str) -> None:
    """Label the x axis."""
    axes.set_xlabel(text, color=LIGHT_PALETTE["muted"], size=SMALL_TEXT_SIZE, loc="right")


def render_figure(figure: Figure, file_format: str) -> bytes:
    """Return a plot as the contents of a `png` or `svg` file; the same plot gives the same bytes."""
    content = io.BytesIO()
    metadata = (
        {"Date": None, "Creator": None, "Format": None, "Type": None} if file_format == "svg" else {"Software": None}
    )
    with use_plot_style():
        figure.savefig(content, format=file_format, dpi=200, metadata=metadata)
    return content.getvalue()


def make_inline_svg(plot: ReportPlot, svg: bytes, label_id: str) -> str:
    """Return an SVG for inclusion in the page: with the page's colors and font, and with unique ids."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    view_box = re.search(r'viewBox="[^"]*"', text)
    box = view_box.group() if view_box else ""
    text = f'<svg {box} role="img" aria-labelledby="{label_id}">' + text[text.index(">") + 1 :]
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{plot.name}-", text)
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL
    )  # these rules would apply to the whole page
    text = re.sub(r"font: (?:(bold|\d+) )?([\d.]+)px [^;\"]*", _rewrite_font, text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for role, color in LIGHT_PALETTE.items():
        text = text.replace(color, f"var(--{role})")
    return text


def _rewrite_font(match: re.Match[str]) -> str:
    weight = f"; font-weight: {match.group(1)}" if match.group(1) else ""
    return f"font-size: {match.group(2)}px{weight}"
