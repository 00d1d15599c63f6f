"""How a report writes a quantity: figures of merit, differences, bytes, times, counts. It knows no way and no page."""

from __future__ import annotations

from collections.abc import Sequence

Number = int | float
"""JSON knows one kind of number."""

#: Figures of merit that are shares, written in per cent.
SHARES = frozenset({"accuracy", "macro_f1", "f1", "exact_match", "looping", "majority"})

#: What stands where nothing was measured.
ABSENT = "–"

#: Of more than these, and one more, a sentence names so many and counts the others.
FEW = 5

_NAMES = {"macro_f1": "macro F1", "f1": "F1", "bleu": "BLEU"}
_COMPARED_BY = {"macro_f1": "the labels' mean recall"}
_MINUS = "\N{MINUS SIGN}"


def metric_name(metric: str) -> str:
    """A figure of merit's name in a sentence."""
    return _NAMES.get(metric, metric.replace("_", " "))


def compared_by(metric: str) -> str:
    """What the paired test compares of each row, where that is another figure than the headline."""
    return _COMPARED_BY.get(metric, metric_name(metric))


def capitalise(words: str) -> str:
    """Words with a capital at their beginning, and the rest as it is."""
    return words[:1].upper() + words[1:]


def figure(value: Number | None, metric: str) -> str:
    """A figure of merit: 0.912 is 91.2% of accuracy, and 12.31 of perplexity."""
    if value is None:
        return ABSENT
    return f"{100 * value:.1f}%" if metric in SHARES else number(value)


def spread(value: Number | None, metric: str) -> str:
    """A standard deviation, in the unit of its figure without naming it."""
    if value is None:
        return ""
    return f"{100 * value:.1f}" if metric in SHARES else number(value)


def points(value: Number, metric: str) -> str:
    """How far apart two ways are by the paired test: points of a share, or loss per token."""
    if metric not in SHARES:
        return f"{spaced(value, metric)} of loss per token"
    unit = " point" if spaced(abs(value), metric) == "1.0" else " points"
    return spaced(value, metric) + unit + (f" of {compared_by(metric)}" if metric in _COMPARED_BY else "")


def spaced(value: Number, metric: str, signed: bool = False) -> str:
    """A difference without its unit, with a proper minus."""
    text = f"{100 * value:.1f}" if metric in SHARES else f"{value:.3f}"
    text = text.lstrip("-") if not float(text) else text
    return ("+" if signed and float(text) > 0 else "") + text.replace("-", _MINUS)


def interval(low: Number, high: Number, metric: str) -> str:
    """A 95% interval of a difference."""
    return f"95% interval {spaced(low, metric)} to {spaced(high, metric)}"


def number(value: Number) -> str:
    """Any other number, to three or four figures."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", _MINUS)
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}".replace("-", _MINUS)


def size(value: Number | None) -> str:
    """Bytes, in powers of a thousand."""
    if value is None:
        return ABSENT
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: Number | None) -> str:
    """A time, in the two units that matter."""
    if seconds is None:
        return ABSENT
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours:,} h" + (f" {rest} min" if rest else "")


def share(value: Number | None) -> str:
    """A share of the model's parameters, however small."""
    return ABSENT if value is None else f"{100 * value:.3g}%"


def count(value: Number | None) -> str:
    """A whole number."""
    return ABSENT if value is None else f"{value:,.0f}"


def many(value: int, noun: str) -> str:
    """A count with its noun: "1 seed", "3 seeds"."""
    return f"{value:,} {noun}" + ("" if value == 1 else "s")


def rate(value: Number | None) -> str:
    """Something a second."""
    return ABSENT if value is None else f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def list_few(words: Sequence[str], most: int = FEW) -> str:
    """Words as a sentence lists them; of many the first, and how many more there are."""
    if len(words) <= most + 1:
        return listed(words)
    return listed([*words[:most], f"{len(words) - most:,} more"])


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them; those that hold commas themselves keep apart."""
    comma = "; " if any("," in word for word in words) else ", "
    return " and ".join([comma.join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
