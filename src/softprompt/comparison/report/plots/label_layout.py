"""Places labels beside the points and lines they name, without overlaps, instead of a legend."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.plots.palette import LIGHT_PALETTE
from softprompt.comparison.report.plots.report_plot import SMALL_TEXT_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

#: Distance from a marker to its label, and padding around a label, in pixels of the figure.
LABEL_DISTANCE, LABEL_PADDING = 10.0, 2.5


@dataclass(frozen=True)
class PlotLabel:
    """A label for a point in a plot.

    Attributes:
        x: x position of the point, in data coordinates.
        y: y position of the point, in data coordinates.
        text: text of the label.
        color: color of the leader line from the label to the point.
        bar: lower and upper end of a vertical bar through the point; None without a bar.
    """

    x: float
    y: float
    text: str
    color: str
    bar: tuple[float, float] | None = None


def wrap_text(text: str, width: int = 17, max_lines: int = 2) -> str:
    """Wrap a text into a few short lines, and cut what does not fit."""
    return "\n".join(textwrap.wrap(text, width, max_lines=max_lines, placeholder="…")) or "…"


def label_points(axes: Axes, labels: Sequence[PlotLabel]) -> None:
    """Draw each label beside its point, where there is most space; distant labels get a leader line."""
    points = [axes.transData.transform((label.x, label.y)) for label in labels]
    bars = [_make_bar_box(axes, label) for label in labels]
    used = [bar.padded(2, 1) for bar in bars] + [_make_marker_box(x, y) for x, y in points]
    for label, (x, y), bar in zip(labels, points, bars, strict=True):
        wide, high = _measure_text(axes, label.text)
        around = _list_candidate_boxes((x, y), bar, (wide, high), axes.bbox)
        cheapest = min(around, key=lambda option: _compute_cost(option[1], option[0], used, axes.bbox))
        used.append(cheapest[1])
        _draw_label(axes, label, (cheapest[1].x0 - x, cheapest[1].y0 + high / 2 - y), cheapest[0] > LABEL_DISTANCE)


def _make_bar_box(axes: Axes, label: PlotLabel) -> Bbox:
    from matplotlib.transforms import Bbox

    low, high = label.bar or (label.y, label.y)
    return Bbox(axes.transData.transform([(label.x, low), (label.x, high)]))


def _make_marker_box(x: float, y: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x - 5, y - 5, 10, 10)


def label_line_ends(axes: Axes, labels: Sequence[PlotLabel]) -> None:
    """Draw each label to the right of its line's end, in one column, as near to the height of the end as possible."""
    ordered = sorted(labels, key=lambda label: label.y)
    ends = [axes.transData.transform((label.x, label.y))[1] for label in ordered]
    highs = [_measure_text(axes, label.text)[1] + LABEL_PADDING for label in ordered]
    right, limits = axes.bbox.x1 + 12, (axes.bbox.y0 - 8, axes.bbox.y1 + 12)
    for label, end, middle in zip(ordered, ends, _spread_labels(ends, highs, limits), strict=True):
        x = axes.transData.transform((label.x, label.y))[0]
        _draw_label(axes, label, (right - x, middle - end), True)


def _spread_labels(line_ends: Sequence[float], heights: Sequence[float], limits: tuple[float, float]) -> list[float]:
    """Return the centers of the labels of `line_ends`: without overlaps, as near to the line ends as possible.

    Labels that would overlap become one block around the mean of their preferred centers, as in isotonic regression.
    """
    blocks: list[list[int]] = []
    for place in range(len(line_ends)):
        blocks.append([place])
        while len(blocks) > 1 and _get_block_centers(blocks[-1], line_ends, heights, limits)[0] - heights[
            blocks[-1][0]
        ] / 2 < (_get_block_centers(blocks[-2], line_ends, heights, limits)[-1] + heights[blocks[-2][-1]] / 2):
            last = blocks.pop()
            blocks[-1] += last
    return [middle for block in blocks for middle in _get_block_centers(block, line_ends, heights, limits)]


def _get_block_centers(
    block: Sequence[int], line_ends: Sequence[float], heights: Sequence[float], limits: tuple[float, float]
) -> list[float]:
    """Return the centers of the stacked labels of a block, near their preferred centers and within the limits."""
    from_foot, foot = [], 0.0
    for place in block:
        from_foot.append(foot + heights[place] / 2)
        foot += heights[place]
    wanted = sum(line_ends[place] - middle for place, middle in zip(block, from_foot, strict=True)) / len(block)
    foot_at = max(min(wanted, limits[1] - foot), limits[0])
    return [foot_at + middle for middle in from_foot]


def _measure_text(axes: Axes, text: str) -> tuple[float, float]:
    """Return the width and height of a text in pixels. All lines have the same height, whatever their letters."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure: Any = axes.get_figure(root=True)
    probe = figure.text(0, 0, text, size=SMALL_TEXT_SIZE)
    wide = probe.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width  # type: ignore[no-untyped-call]
    probe.remove()
    return wide, (text.count("\n") + 1) * 1.2 * SMALL_TEXT_SIZE * figure.dpi / 72


def _list_candidate_boxes(
    point: tuple[float, float], bar: Bbox, extent: tuple[float, float], bounds: Bbox
) -> Iterator[tuple[float, Bbox]]:
    """Yield candidate boxes beside a point and above and below its bar, the nearest first, with their distances."""
    from matplotlib.transforms import Bbox

    (x, y), (wide, high) = point, extent
    for far in (LABEL_DISTANCE, 18.0, 26.0, 38.0, 52.0, 70.0, 95.0, 130.0):
        above, below = max(bar.y1, y + 2) + far - 3, min(bar.y0, y - 2) - far + 3 - high
        centred = max(min(x - wide / 2, bounds.x1 - wide), bounds.x0)
        for left in (x + far, x - far - wide):
            for low in (y - high / 2, y - high / 2 + 0.7 * far, y - high / 2 - 0.7 * far):
                yield far, Bbox.from_bounds(left, low, wide, high)
        for low in (above, below):
            yield far, Bbox.from_bounds(centred, low, wide, high)


def _compute_cost(box: Bbox, distance: float, occupied: Sequence[Bbox], bounds: Bbox) -> float:
    """Return the cost of a label position: overlap, area outside the plot, and distance from the point."""
    from matplotlib.transforms import Bbox

    roomy = box.padded(LABEL_PADDING)
    covered = sum(met.width * met.height for other in occupied if (met := Bbox.intersection(roomy, other)) is not None)
    within = Bbox.intersection(box, bounds.padded(4))
    outside = box.width * box.height - (within.width * within.height if within is not None else 0)
    return 4 * covered + 20 * outside + 3 * distance


def _get_leader_anchor(offset: tuple[float, float]) -> tuple[float, float]:
    """Return the anchor of the leader line on a label: at the side that faces the point, so that it crosses no text."""
    return (
        (0.0, 0.5)
        if offset[0] > 0
        else (0.5, 0.0 if offset[1] > 0 else 1.0)
        if abs(offset[1]) > LABEL_DISTANCE
        else (1.0, 0.5)
    )


def _draw_label(axes: Axes, label: PlotLabel, offset: tuple[float, float], has_leader: bool) -> None:
    figure: Any = axes.get_figure(root=True)
    per_pixel = 72 / figure.dpi  # points keep their size in every file, pixels do not
    arrow = (
        {
            "arrowstyle": "-",
            "color": label.color,
            "linewidth": 0.7,
            "shrinkA": 1,
            "shrinkB": 3,
            "relpos": _get_leader_anchor(offset),
        }
        if has_leader
        else None
    )
    axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(offset[0] * per_pixel, offset[1] * per_pixel),
        textcoords="offset points",
        ha="left",
        va="center",
        size=SMALL_TEXT_SIZE,
        linespacing=1.05,
        color=LIGHT_PALETTE["ink"],
        arrowprops=arrow,
        annotation_clip=False,
    )
