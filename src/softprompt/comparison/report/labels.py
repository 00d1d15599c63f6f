"""Labels beside what they name, where they cover neither one another nor a mark: in place of a legend."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.canvas import SMALL
from softprompt.comparison.report.colours import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

#: Pixels of the drawing: from a mark to its label, and the room around each.
NEAR, ROOM = 10.0, 2.5


@dataclass(frozen=True)
class Label:
    """Words for a place in a plot.

    Attributes:
        x: the place, in the plot's own units.
        y: the same.
        words: what to write.
        colour: of the line from the words to the place, where they are not beside it.
        bar: from where to where a bar runs through the place, upwards; None where there is none.
    """

    x: float
    y: float
    words: str
    colour: str
    bar: tuple[float, float] | None = None


def wrapped(words: str, width: int = 17, lines: int = 2) -> str:
    """Words in a few short lines; longer ones are cut."""
    return "\n".join(textwrap.wrap(words, width, max_lines=lines, placeholder="…")) or "…"


def label_points(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label beside its point, where there is most room; a fine line leads to those further off."""
    places = [axes.transData.transform((label.x, label.y)) for label in labels]
    bars = [_bar(axes, label) for label in labels]
    used = [bar.padded(2, 1) for bar in bars] + [_square(x, y) for x, y in places]
    for label, (x, y), bar in zip(labels, places, bars, strict=True):
        wide, high = _extent(axes, label.words)
        around = _around((x, y), bar, (wide, high), axes.bbox)
        cheapest = min(around, key=lambda option: _cost(option[1], option[0], used, axes.bbox))
        used.append(cheapest[1])
        _write(axes, label, (cheapest[1].x0 - x, cheapest[1].y0 + high / 2 - y), cheapest[0] > NEAR)


def _bar(axes: Axes, label: Label) -> Bbox:
    from matplotlib.transforms import Bbox

    low, high = label.bar or (label.y, label.y)
    return Bbox(axes.transData.transform([(label.x, low), (label.x, high)]))


def _square(x: float, y: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x - 5, y - 5, 10, 10)


def label_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label to the right of a line's end, one under the other, as near to its height as there is room."""
    ordered = sorted(labels, key=lambda label: label.y)
    ends = [axes.transData.transform((label.x, label.y))[1] for label in ordered]
    highs = [_extent(axes, label.words)[1] + ROOM for label in ordered]
    right, room = axes.bbox.x1 + 12, (axes.bbox.y0 - 8, axes.bbox.y1 + 12)
    for label, end, middle in zip(ordered, ends, _apart(ends, highs, room), strict=True):
        x = axes.transData.transform((label.x, label.y))[0]
        _write(axes, label, (right - x, middle - end), True)


def _apart(ends: Sequence[float], highs: Sequence[float], room: tuple[float, float]) -> list[float]:
    """The middles of labels so high, in the order of `ends`: none within another, all as near to their ends as can be.

    Labels that would meet become one block around the mean of what they want, as in isotonic regression.
    """
    blocks: list[list[int]] = []
    for place in range(len(ends)):
        blocks.append([place])
        while len(blocks) > 1 and _middles(blocks[-1], ends, highs, room)[0] - highs[blocks[-1][0]] / 2 < (
            _middles(blocks[-2], ends, highs, room)[-1] + highs[blocks[-2][-1]] / 2
        ):
            last = blocks.pop()
            blocks[-1] += last
    return [middle for block in blocks for middle in _middles(block, ends, highs, room)]


def _middles(
    block: Sequence[int], ends: Sequence[float], highs: Sequence[float], room: tuple[float, float]
) -> list[float]:
    """The middles of labels that stand on one another, around where they want to be, within the room."""
    from_foot, foot = [], 0.0
    for place in block:
        from_foot.append(foot + highs[place] / 2)
        foot += highs[place]
    wanted = sum(ends[place] - middle for place, middle in zip(block, from_foot, strict=True)) / len(block)
    foot_at = max(min(wanted, room[1] - foot), room[0])
    return [foot_at + middle for middle in from_foot]


def _extent(axes: Axes, words: str) -> tuple[float, float]:
    """How wide and high words are; each line as high as any, whatever its letters."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure: Any = axes.get_figure(root=True)
    probe = figure.text(0, 0, words, size=SMALL)
    wide = probe.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width  # type: ignore[no-untyped-call]
    probe.remove()
    return wide, (words.count("\n") + 1) * 1.2 * SMALL * figure.dpi / 72


def _around(
    place: tuple[float, float], bar: Bbox, extent: tuple[float, float], inside: Bbox
) -> Iterator[tuple[float, Bbox]]:
    """Boxes beside a point, and above and below the bar through it, the nearest first."""
    from matplotlib.transforms import Bbox

    (x, y), (wide, high) = place, extent
    for far in (NEAR, 18.0, 26.0, 38.0, 52.0, 70.0, 95.0, 130.0):
        above, below = max(bar.y1, y + 2) + far - 3, min(bar.y0, y - 2) - far + 3 - high
        centred = max(min(x - wide / 2, inside.x1 - wide), inside.x0)
        for left in (x + far, x - far - wide):
            for low in (y - high / 2, y - high / 2 + 0.7 * far, y - high / 2 - 0.7 * far):
                yield far, Bbox.from_bounds(left, low, wide, high)
        for low in (above, below):
            yield far, Bbox.from_bounds(centred, low, wide, high)


def _cost(box: Bbox, far: float, used: Sequence[Bbox], inside: Bbox) -> float:
    """How much a label would cover or leave the plot, and how far off it would be."""
    from matplotlib.transforms import Bbox

    roomy = box.padded(ROOM)
    covered = sum(met.width * met.height for other in used if (met := Bbox.intersection(roomy, other)) is not None)
    within = Bbox.intersection(box, inside.padded(4))
    outside = box.width * box.height - (within.width * within.height if within is not None else 0)
    return 4 * covered + 20 * outside + 3 * far


def _edge(offset: tuple[float, float]) -> tuple[float, float]:
    """Where on a label the line to its place begins: at the side that looks there, so that it crosses no words."""
    return (
        (0.0, 0.5) if offset[0] > 0 else (0.5, 0.0 if offset[1] > 0 else 1.0) if abs(offset[1]) > NEAR else (1.0, 0.5)
    )


def _write(axes: Axes, label: Label, offset: tuple[float, float], led: bool) -> None:
    figure: Any = axes.get_figure(root=True)
    per_pixel = 72 / figure.dpi  # points keep their size in every file, pixels do not
    arrow = (
        {
            "arrowstyle": "-",
            "color": label.colour,
            "linewidth": 0.7,
            "shrinkA": 1,
            "shrinkB": 3,
            "relpos": _edge(offset),
        }
        if led
        else None
    )
    axes.annotate(
        label.words,
        (label.x, label.y),
        xytext=(offset[0] * per_pixel, offset[1] * per_pixel),
        textcoords="offset points",
        ha="left",
        va="center",
        size=SMALL,
        linespacing=1.05,
        color=LIGHT["ink"],
        arrowprops=arrow,
        annotation_clip=False,
    )
