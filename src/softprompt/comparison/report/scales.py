"""The axes of a report's plots: figures of merit, numbers over many powers of ten with a place for nothing, times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from softprompt.comparison.report.colours import LIGHT
from softprompt.comparison.report.quantities import SHARES, capitalise, metric_name, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Figures of merit this many times apart are drawn by their logarithms: one bad way should not flatten all the others.
WIDE = 4.0

#: The part of an axis that is kept for ways without a quantity, so that their names have room.
FOR_NOTHING = 0.3

#: More times than this beside one another touch.
MOST_TIMES = 6

_UNITS = {"s": (1, (0.1, 0.3, 1, 3, 10, 30)), "min": (60, (1, 3, 10, 30)), "h": (3600, (1, 3, 10, 30, 100, 300))}
_TIMES = {float(size * each): f"{each} {unit}" for unit, (size, counts) in _UNITS.items() for each in counts}
_PREFIXES = {0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def merit_note(metric: str, larger_is_better: bool, where: str) -> str:
    """What a figure of merit's axis shows, in a line."""
    return f"{capitalise(metric_name(metric))} {where}" + ("" if larger_is_better else "; lower is better")


def merit_axis(axes: Axes, which: str, metric: str, values: Sequence[float]) -> None:
    """Show a figure of merit along `x` or `y`: shares in per cent, widely spread ones by their logarithms."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    if metric not in SHARES and min(values) > 0 and max(values) > WIDE * min(values):
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: _merit(value, metric))
    if max(values) == min(values):
        pad = 0.02 if metric in SHARES else abs(values[0]) / 10 or 1.0
        axes.set(**{f"{which}lim": (values[0] - pad, values[0] + pad)})


def _merit(value: float, metric: str) -> str:
    return f"{100 * value:.4g}%" if metric in SHARES else f"{value:,.4g}" if value < 10_000 else number(value)


def powers_of_ten(values: Iterable[float]) -> dict[float, str]:
    """Ticks for numbers, each power of ten."""
    found = list(values)
    if not found:
        return {}
    low, high = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    every = 2 if high - low > 5 else 1
    return {10.0**power: _power(power) for power in range(low, high + 1, every)}


def _power(power: int) -> str:
    thousands = min(max(power // 3 * 3, 0), 12)
    return f"{10.0 ** (power - thousands):,.10g}{_PREFIXES[thousands]}"


def times(values: Iterable[float]) -> dict[float, str]:
    """Ticks for seconds, where people count anew: seconds, minutes, hours."""
    found = list(values)
    if not found:
        return {}
    steps = sorted(_TIMES)
    low = max((step for step in steps if step <= min(found)), default=steps[0])
    high = min((step for step in steps if step >= max(found)), default=steps[-1])
    within = [step for step in steps if low <= step <= high]
    fewer = within if len(within) <= MOST_TIMES else [step for step in steps[::2] if low <= step <= high]
    return {step: _TIMES[step] for step in fewer}


def places_with_nothing(
    axes: Axes, values: Mapping[str, float], ticks: Callable[[Iterable[float]], Mapping[float, str]], nothing: str
) -> dict[str, float]:
    """Where each value stands on a logarithmic axis that is broken, so that 0 has a place to its left.

    Returns:
        The place of each name, in the plot's units.
    """
    positive = [value for value in values.values() if value > 0]
    marked = ticks(positive)
    first = math.log10(min([*positive, *marked], default=1.0))
    last = max(math.log10(max(positive, default=1.0)), first + 1.0)
    span, zero = 1.15 * (last - first), len(positive) < len(values)
    left = first - 0.06 * span - (span * FOR_NOTHING / (1 - FOR_NOTHING) if zero else 0)
    right = last + 0.09 * span
    at_nothing = left + 0.05 * (right - left)
    if zero and positive:
        axes.axvline(first - 0.06 * span, color=LIGHT["muted"], linewidth=0.8, dashes=(1, 3))
    names = {at_nothing: nothing} if zero else {}
    names |= {math.log10(tick): word for tick, word in marked.items() if math.log10(tick) < right}
    axes.set_xlim(left, right)
    axes.set_xticks(list(names), list(names.values()))
    return {name: math.log10(value) if value > 0 else at_nothing for name, value in values.items()}
