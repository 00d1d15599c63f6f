"""Axes of a report's plots: metrics, times, and quantities on a logarithmic scale with a place for zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from softprompt.comparison.report.formatters import PERCENT_METRICS, capitalize_first, format_number, get_metric_name
from softprompt.comparison.report.plots.palette import LIGHT_PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Metric values whose ratio exceeds this get a logarithmic scale: one bad method must not flatten all others.
METRIC_LOG_RATIO = 4.0

#: Fraction of an axis that is reserved for methods with the value zero and their labels.
ZERO_AREA_SHARE = 0.3

#: Largest number of time ticks whose labels do not overlap.
MAX_TIME_TICKS = 6

_TIME_UNITS = {"s": (1, (0.1, 0.3, 1, 3, 10, 30)), "min": (60, (1, 3, 10, 30)), "h": (3600, (1, 3, 10, 30, 100, 300))}
_TIME_TICKS = {
    float(size * count): f"{count} {unit}" for unit, (size, counts) in _TIME_UNITS.items() for count in counts
}
_SI_PREFIXES = {0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def describe_metric_axis(metric: str, higher_is_better: bool, scope: str) -> str:
    """Return the description of a metric axis."""
    return f"{capitalize_first(get_metric_name(metric))} {scope}" + ("" if higher_is_better else "; lower is better")


def set_metric_axis(axes: Axes, axis_name: str, metric: str, values: Sequence[float]) -> None:
    """Format the `x` or `y` axis for a metric: per cent where suitable, and a logarithmic scale for a wide range."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis: Axis = axes.xaxis if axis_name == "x" else axes.yaxis
    if metric not in PERCENT_METRICS and min(values) > 0 and max(values) > METRIC_LOG_RATIO * min(values):
        axes.set(**{f"{axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: _format_metric_tick(value, metric))
    if max(values) == min(values):
        pad = 0.02 if metric in PERCENT_METRICS else abs(values[0]) / 10 or 1.0
        axes.set(**{f"{axis_name}lim": (values[0] - pad, values[0] + pad)})


def _format_metric_tick(value: float, metric: str) -> str:
    return (
        f"{100 * value:.4g}%"
        if metric in PERCENT_METRICS
        else f"{value:,.4g}"
        if value < 10_000
        else format_number(value)
    )


def get_power_ticks(values: Iterable[float]) -> dict[float, str]:
    """Return ticks at powers of ten; at every second power for a wide range."""
    quantities = list(values)
    if not quantities:
        return {}
    low, high = math.floor(math.log10(min(quantities))), math.ceil(math.log10(max(quantities)))
    interval = 2 if high - low > 5 else 1
    return {10.0**power: _format_power(power) for power in range(low, high + 1, interval)}


def _format_power(power: int) -> str:
    thousands = min(max(power // 3 * 3, 0), 12)
    return f"{10.0 ** (power - thousands):,.10g}{_SI_PREFIXES[thousands]}"


def get_time_ticks(values: Iterable[float]) -> dict[float, str]:
    """Return ticks for durations in seconds, at round seconds, minutes and hours."""
    durations = list(values)
    if not durations:
        return {}
    steps = sorted(_TIME_TICKS)
    low = max((step for step in steps if step <= min(durations)), default=steps[0])
    high = min((step for step in steps if step >= max(durations)), default=steps[-1])
    within = [step for step in steps if low <= step <= high]
    fewer = within if len(within) <= MAX_TIME_TICKS else [step for step in steps[::2] if low <= step <= high]
    return {step: _TIME_TICKS[step] for step in fewer}


def set_log_axis_with_zero(
    axes: Axes,
    values: Mapping[str, float],
    get_ticks: Callable[[Iterable[float]], Mapping[float, str]],
    zero_label: str,
) -> dict[str, float]:
    """Set up a broken logarithmic x axis, with a place for zero at its left.

    Returns:
        The x position of each name, in data coordinates.
    """
    positive = [value for value in values.values() if value > 0]
    marked = get_ticks(positive)
    first = math.log10(min([*positive, *marked], default=1.0))
    last = max(math.log10(max(positive, default=1.0)), first + 1.0)
    span, zero = 1.15 * (last - first), len(positive) < len(values)
    left = first - 0.06 * span - (span * ZERO_AREA_SHARE / (1 - ZERO_AREA_SHARE) if zero else 0)
    right = last + 0.09 * span
    zero_position = left + 0.05 * (right - left)
    if zero and positive:
        axes.axvline(first - 0.06 * span, color=LIGHT_PALETTE["muted"], linewidth=0.8, dashes=(1, 3))
    names = {zero_position: zero_label} if zero else {}
    names |= {math.log10(tick): word for tick, word in marked.items() if math.log10(tick) < right}
    axes.set_xlim(left, right)
    axes.set_xticks(list(names), list(names.values()))
    return {name: math.log10(value) if value > 0 else zero_position for name, value in values.items()}
