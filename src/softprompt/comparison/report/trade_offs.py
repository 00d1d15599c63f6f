"""Plots of what each way is worth and what it takes: every seed's quality, and quality against numbers and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.canvas import SMALL, Chart, below, canvas
from softprompt.comparison.report.colours import LIGHT, mark_of, role_of
from softprompt.comparison.report.findings import Findings
from softprompt.comparison.report.labels import Label, label_points, wrapped
from softprompt.comparison.report.quantities import capitalise, duration, figure
from softprompt.comparison.report.scales import merit_axis, merit_note, places_with_nothing, powers_of_ten, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def look(findings: Findings, name: str) -> dict[str, Any]:
    """A way's colour and mark, the same in every plot."""
    place = list(findings.ways).index(name)
    return {"color": LIGHT[role_of(place)], "marker": mark_of(place)}


def seeds_of(score: Mapping[str, Any]) -> list[float]:
    """The figures of all seeds; the mean where there are none."""
    return [float(value) for value in score.get("seeds") or [] if value is not None] or [float(score["mean"])]


def quality(findings: Findings) -> Chart:
    """Every way's mean and seeds, the best on top."""
    names = sorted(findings.judged, key=lambda name: findings.gain(findings.mean(name)))
    note = merit_note(
        findings.metric, bool(findings.report["larger_is_better"]), "on the test set, mean and every seed"
    )
    drawn, axes = canvas("Quality", note, height=max(0.3 * len(names), 0.5), left=1.4, right=0.55, bottom=0.3)
    for place, name in enumerate(names):
        style = look(findings, name)
        each = seeds_of(findings.score(name))
        axes.plot([min(each), max(each)], [place, place], color=style["color"], linewidth=2, alpha=0.45)
        axes.plot(each, [place] * len(each), "|", color=style["color"], markersize=8)
        axes.plot(findings.mean(name), place, linestyle="", markersize=7, **style)
        mean = figure(findings.mean(name), findings.metric)
        axes.text(1.03, place, mean, transform=axes.get_yaxis_transform(), va="center", size=SMALL)
    axes.set_yticks(range(len(names)), [wrapped(findings.title(n), 22) for n in names], color=LIGHT["ink"])
    axes.set_ylim(-0.6, len(names) - 0.4)
    _baseline(axes, findings)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=LIGHT["rule"], linewidth=0.7)
    merit_axis(axes, "x", findings.metric, [value for n in names for value in seeds_of(findings.score(n))])
    best = figure(findings.mean(findings.best), findings.metric)
    summary = (
        f"The best mean is that of {findings.title(findings.best)}, {best}. A stroke is a seed, the mark their mean."
    )
    return Chart("quality", "Quality", "price", summary, drawn)


def _baseline(axes: Axes, findings: Findings) -> None:
    if findings.baseline is not None:
        axes.axvline(findings.mean(findings.baseline), color=LIGHT["muted"], linewidth=0.8, dashes=(3, 3), zorder=0.5)


def against_parameters(findings: Findings) -> Chart:
    """Quality against how many numbers train."""
    numbers = _measured(findings, "trained_parameters")
    nothing = " Ways that train nothing stand left of the dotted line." if not all(numbers.values()) else ""
    words = "Quality and trained parameters", "parameters", "none", f"Further left trains fewer parameters.{nothing}"
    return _trade_off(findings, numbers, powers_of_ten, words)


def against_time(findings: Findings) -> Chart:
    """Quality against the time of one training."""
    seconds = _measured(findings, "seconds")
    trained = {name: value for name, value in seconds.items() if value}
    longest = max(trained, key=lambda name: trained[name], default=None)
    summary = "Further left trains sooner."
    if longest is not None:
        title = capitalise(findings.title(longest))
        summary += f" {title} takes longest, {duration(trained[longest])} for one training."
    return _trade_off(findings, seconds, times, ("Quality and training time", "time", "none", summary))


def _measured(findings: Findings, quantity: str) -> dict[str, float]:
    return {name: float(findings.ways[name].get(quantity) or 0) for name in findings.judged}


def _trade_off(
    findings: Findings,
    values: Mapping[str, float],
    ticks: Callable[[Iterable[float]], Mapping[float, str]],
    words: tuple[str, str, str, str],
) -> Chart:
    title, quantity, nothing, summary = words
    metric = findings.metric
    note = merit_note(
        metric, bool(findings.report["larger_is_better"]), "on the test set; bars from worst to best seed"
    )
    drawn, axes = canvas(title, note, height=max(3.0, 0.5 * len(findings.foremost) - 1))
    across = places_with_nothing(axes, values, ticks, nothing)
    labels, values_seen = [], list[float]()
    for name, x in across.items():
        style, each = look(findings, name), seeds_of(findings.score(name))
        bar = min(each), max(each)
        is_named = name in findings.foremost
        if is_named:
            axes.plot([x, x], bar, color=style["color"], linewidth=1.5, alpha=0.5)
            labels.append(Label(x, findings.mean(name), wrapped(findings.title(name), 16, 3), style["color"], bar))
        axes.plot(x, findings.mean(name), linestyle="", markersize=7 if is_named else 4, **style)
        values_seen += each
    axes.margins(y=0.12)
    merit_axis(axes, "y", metric, values_seen)
    below(axes, {"parameters": "trained parameters, by powers of ten", "time": "time of one training"}[quantity])
    axes.autoscale_view(scalex=False)
    label_points(axes, labels)
    return Chart(f"quality-{quantity}", title, "price", summary + unnamed(findings), drawn)


def unnamed(findings: Findings) -> str:
    """A further sentence of a plot's summary, where not all ways have their names in it."""
    others = len(findings.judged) - len(findings.foremost)
    return f" {others:,} more ways are drawn without their names: the tables have their marks." if others else ""
