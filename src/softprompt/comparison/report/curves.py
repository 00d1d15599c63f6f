"""Plots of what changes a way's quality: steps of training, fewer examples, the values of a setting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.canvas import Chart, below, canvas
from softprompt.comparison.report.colours import LIGHT
from softprompt.comparison.report.findings import Findings
from softprompt.comparison.report.labels import Label, label_ends, wrapped
from softprompt.comparison.report.scales import merit_axis, merit_note
from softprompt.comparison.report.trade_offs import look, seeds_of, unnamed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Numbers this many times apart are drawn by their logarithms.
WIDE = 10.0

#: Inches to the right of a plot for the names of its lines.
FOR_NAMES = 1.3


def learning(findings: Findings) -> list[Chart]:
    """The headline figure on the validation data while training; nothing where nothing trained."""
    metric = findings.metric
    curves = {
        name: points
        for name in findings.judged
        if (points := [p for p in findings.ways[name].get("curve") or [] if p.get(metric) is not None])
    }
    if not curves:
        return []
    drawn, axes = _canvas(findings, "While training", "on the validation data; fine lines are seeds", curves)
    labels = [label for name, points in curves.items() if (label := _learn(axes, findings, name, points))]
    values = [float(point[metric]) for points in curves.values() for point in points]
    _finish(axes, findings, "step", values, labels)
    return [
        Chart(
            "learning",
            "While training",
            "price",
            f"Each way's mean over its seeds, at each evaluation while training.{unnamed(findings)}",
            drawn,
        )
    ]


def _learn(axes: Axes, findings: Findings, name: str, points: Sequence[Mapping[str, Any]]) -> Label | None:
    style, metric = look(findings, name), findings.metric
    by_seed: dict[Any, list[tuple[int, float]]] = {}
    by_step: dict[int, list[float]] = {}
    for point in points:
        by_seed.setdefault(point.get("seed"), []).append((point["step"], point[metric]))
        by_step.setdefault(point["step"], []).append(point[metric])
    for seed in by_seed.values() if len(by_seed) > 1 and name in findings.foremost else ():
        axes.plot(*zip(*sorted(seed), strict=True), color=style["color"], linewidth=0.7, alpha=0.3)
    means = {float(step): sum(each) / len(each) for step, each in sorted(by_step.items())}
    return _line(axes, findings, name, means, {})


def low_data(findings: Findings) -> list[Chart]:
    """Quality against the number of training examples; a dashed line where nothing trains. Nothing without sizes."""
    metric, full = findings.metric, findings.report["data"]["training"]["examples"]
    sizes = {name: found for name in findings.judged if (found := findings.ways[name].get("sizes"))}
    if not sizes:
        return []
    flat = [n for n in findings.judged if n not in sizes and findings.ways[n]["kind"] in ("prompting", "api")]
    drawn, axes = _canvas(findings, "With fewer examples", "on the test set; bars span the seeds", [*sizes, *flat])
    ticks, values = {math.log2(full): f"{full:,}"}, list[float]()
    labels: list[Label | None] = []
    for name, found in sizes.items():
        scores = {math.log2(int(n)): each[metric] for n, each in found.items() if _known(each, metric)}
        ticks |= {math.log2(int(n)): f"{int(n):,}" for n in found}
        scores |= {math.log2(full): findings.score(name)}
        values += [value for score in scores.values() for value in seeds_of(score)]
        labels.append(_scores(axes, findings, name, scores))
    for name in (each for each in flat if each in findings.foremost):
        mean, colour = findings.mean(name), look(findings, name)["color"]
        axes.axhline(mean, color=colour, linewidth=1.4, dashes=(4, 3))
        labels.append(Label(max(ticks), mean, wrapped(findings.title(name), 18), colour))
        values.append(mean)
    axes.set_xticks(list(ticks), list(ticks.values()))
    _finish(axes, findings, "training examples, by doublings", values, [each for each in labels if each])
    summary = "The last point of each line is the training on all examples. Dashed lines train nothing."
    summary += unnamed(findings)
    return [Chart("low-data", "With fewer examples", "otherwise", summary, drawn)]


def sweeps(findings: Findings) -> list[Chart]:
    """Quality against the values of each setting that was swept, a plot a setting."""
    options = dict.fromkeys(option for n in findings.judged for option in findings.ways[n].get("sweeps") or {})
    return [chart for place, option in enumerate(options) for chart in _sweep(findings, option, place)]


def _sweep(findings: Findings, option: str, place: int) -> list[Chart]:
    metric = findings.metric
    swept = {
        name: {value: each[metric] for value, each in found.items() if _known(each, metric)}
        for name in findings.judged
        if (found := (findings.ways[name].get("sweeps") or {}).get(option))
    }
    swept = {name: scores for name, scores in swept.items() if scores}
    if not swept:
        return []
    drawn, axes = _canvas(findings, f"By {option}", "on the test set; bars span the seeds", swept)
    places, words = _values(axes, list(dict.fromkeys(value for scores in swept.values() for value in scores)))
    labels = [
        label
        for name, scores in swept.items()
        if (label := _scores(axes, findings, name, {places[value]: score for value, score in scores.items()}))
    ]
    values = [value for scores in swept.values() for score in scores.values() for value in seeds_of(score)]
    _finish(axes, findings, words, values, labels)
    summary = f"The mean of each way at each value of {option}, all else equal.{unnamed(findings)}"
    return [Chart(f"sweep-{place + 1}", f"By {option}", "otherwise", summary, drawn)]


def _values(axes: Axes, values: Sequence[str]) -> tuple[dict[str, float], str]:
    """The place of each value of a setting: on an axis of numbers if all are numbers, else side by side."""
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        places = {value: float(place) for place, value in enumerate(values)}
        axes.set_xticks(list(places.values()), [wrapped(value, 12, 3) for value in values])
        axes.set_xlim(-0.4, len(values) - 0.6)
        return places, ""
    low, high = min(numbers.values()), max(numbers.values())
    logarithmic = low > 0 and high > WIDE * low
    places = {value: math.log10(number) if logarithmic else number for value, number in numbers.items()}
    axes.set_xticks(list(places.values()), list(places))
    return places, "logarithmic scale" if logarithmic else ""


def _scores(axes: Axes, findings: Findings, name: str, scores: Mapping[float, Mapping[str, Any]]) -> Label | None:
    ranges = {x: (min(each), max(each)) for x, score in scores.items() if len(each := seeds_of(score)) > 1}
    return _line(axes, findings, name, {x: float(score["mean"]) for x, score in sorted(scores.items())}, ranges)


def _line(
    axes: Axes, findings: Findings, name: str, means: Mapping[float, float], ranges: Mapping[float, tuple[float, float]]
) -> Label | None:
    """A way's line with its ranges, and the label for its end; of many ways those that are not named have neither."""
    if name not in findings.foremost:
        axes.plot(list(means), list(means.values()), linewidth=0.7, color=LIGHT["muted"], alpha=0.45, zorder=1)
        return None
    style = look(findings, name)
    axes.plot(list(means), list(means.values()), linewidth=1.8, markersize=4, **style)
    for x, (low, high) in ranges.items():
        axes.plot([x, x], [low, high], color=style["color"], linewidth=1.2, alpha=0.5)
    last = max(means)
    return Label(last, means[last], wrapped(findings.title(name), 18), style["color"])


def _canvas(findings: Findings, title: str, where: str, ways: Iterable[str]) -> tuple[Any, Axes]:
    lines = sum(name in findings.foremost for name in ways)
    note = merit_note(findings.metric, bool(findings.report["larger_is_better"]), where)
    return canvas(title, note, height=max(2.6, 0.32 * lines), right=FOR_NAMES)


def _finish(axes: Axes, findings: Findings, words: str, values: Sequence[float], labels: Sequence[Label]) -> None:
    merit_axis(axes, "y", findings.metric, values)
    below(axes, words)
    axes.autoscale_view()
    label_ends(axes, labels)


def _known(figures: Mapping[str, Any], metric: str) -> bool:
    return (figures.get(metric) or {}).get("mean") is not None
