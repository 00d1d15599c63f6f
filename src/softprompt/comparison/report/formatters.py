"""Formats the quantities of a report: metrics, differences, bytes, durations, counts."""

from __future__ import annotations

from collections.abc import Sequence

Number = int | float
"""A number in JSON."""

#: Metrics between 0 and 1, written in per cent.
PERCENT_METRICS = frozenset({"accuracy", "macro_f1", "f1", "exact_match", "looping", "majority"})

#: Text for a quantity that was not measured.
MISSING = "–"

#: A sentence that lists more than one item beyond this number names the first ones and counts the others.
MAX_LISTED = 5

_METRIC_NAMES = {"macro_f1": "macro F1", "f1": "F1", "bleu": "BLEU"}
_COMPARED_METRIC_NAMES = {"macro_f1": "the labels' mean recall"}
_MINUS = "\N{MINUS SIGN}"


def get_metric_name(metric: str) -> str:
    """Return the name of a metric inside a sentence."""
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def get_compared_metric_name(metric: str) -> str:
    """Return the name of the per-example score that the paired test compares, if it differs from the metric."""
    return _COMPARED_METRIC_NAMES.get(metric, get_metric_name(metric))


def capitalize_first(text: str) -> str:
    """Return a text with a capital first letter and the rest unchanged."""
    return text[:1].upper() + text[1:]


def format_metric(value: Number | None, metric: str) -> str:
    """Format the value of a metric: an accuracy of 0.912 is "91.2%", a perplexity is "12.31"."""
    if value is None:
        return MISSING
    return f"{100 * value:.1f}%" if metric in PERCENT_METRICS else format_number(value)


def format_spread(value: Number | None, metric: str) -> str:
    """Format a standard deviation in the unit of its metric, without the unit."""
    if value is None:
        return ""
    return f"{100 * value:.1f}" if metric in PERCENT_METRICS else format_number(value)


def format_points(value: Number, metric: str) -> str:
    """Format the difference of two methods in the paired test: percentage points, or loss per token."""
    if metric not in PERCENT_METRICS:
        return f"{format_difference(value, metric)} of loss per token"
    unit = " point" if format_difference(abs(value), metric) == "1.0" else " points"
    return (
        format_difference(value, metric)
        + unit
        + (f" of {get_compared_metric_name(metric)}" if metric in _COMPARED_METRIC_NAMES else "")
    )


def format_difference(value: Number, metric: str, signed: bool = False) -> str:
    """Format a difference without its unit, with a typographic minus sign."""
    text = f"{100 * value:.1f}" if metric in PERCENT_METRICS else f"{value:.3f}"
    text = text.lstrip("-") if not float(text) else text
    return ("+" if signed and float(text) > 0 else "") + text.replace("-", _MINUS)


def format_interval(low: Number, high: Number, metric: str) -> str:
    """Format the 95% confidence interval of a difference."""
    return f"95% interval {format_difference(low, metric)} to {format_difference(high, metric)}"


def format_number(value: Number) -> str:
    """Format a number with three or four significant digits."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", _MINUS)
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}".replace("-", _MINUS)


def format_bytes(value: Number | None) -> str:
    """Format a size in bytes, with units that are powers of 1000."""
    if value is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def format_duration(seconds: Number | None) -> str:
    """Format a duration with its two largest units."""
    if seconds is None:
        return MISSING
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours:,} h" + (f" {rest} min" if rest else "")


def format_percent(value: Number | None) -> str:
    """Format a fraction in per cent with three significant digits."""
    return MISSING if value is None else f"{100 * value:.3g}%"


def format_count(value: Number | None) -> str:
    """Format a whole number."""
    return MISSING if value is None else f"{value:,.0f}"


def pluralize(value: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: "1 seed", "3 seeds"."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def format_rate(value: Number | None) -> str:
    """Format a rate per second."""
    return MISSING if value is None else f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def join_few(items: Sequence[str], max_items: int = MAX_LISTED) -> str:
    """Join items as in a sentence; of many items the first ones, and the number of the others."""
    if len(items) <= max_items + 1:
        return join_words(items)
    return join_words([*items[:max_items], f"{len(items) - max_items:,} more"])


def join_words(items: Sequence[str]) -> str:
    """Join items as in a sentence, with semicolons if an item contains a comma."""
    separator = "; " if any("," in item for item in items) else ", "
    return " and ".join([separator.join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
