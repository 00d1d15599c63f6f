"""Line plots of quality: against training steps, the number of training examples, and the values of a setting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.method_result import MetricSummaries, MetricSummary
from softprompt.comparison.report.plots.label_layout import PlotLabel, label_line_ends, wrap_text
from softprompt.comparison.report.plots.palette import LIGHT_PALETTE
from softprompt.comparison.report.plots.plot_axes import describe_metric_axis, set_metric_axis
from softprompt.comparison.report.plots.report_plot import ReportPlot, create_axes, set_x_label
from softprompt.comparison.report.plots.scatter_plots import describe_unnamed_methods, get_seed_values, get_series_style
from softprompt.comparison.report.report_view import ReportView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Values of a setting whose ratio exceeds this are drawn on a logarithmic scale.
SWEEP_LOG_RATIO = 10.0

#: Width in inches of the labels to the right of a plot.
LABEL_MARGIN = 1.3


def plot_learning_curves(view: ReportView) -> list[ReportPlot]:
    """Plot the headline metric on the validation data during training; nothing if no method was trained."""
    curves = {name: points for name in view.scored_methods if (points := _get_curve(view, name))}
    if not curves:
        return []
    figure, axes = _create_axes(view, "During training", "on the validation data; thin lines are seeds", curves)
    labels = [label for name, points in curves.items() if (label := _draw_learning_curve(axes, view, name, points))]
    values = [value for points in curves.values() for _, _, value in points]
    _finish_axes(axes, view, "step", values, labels)
    return [
        ReportPlot(
            "learning",
            "During training",
            "price",
            f"The mean of each method over its seeds at each evaluation.{describe_unnamed_methods(view)}",
            figure,
        )
    ]


def _get_curve(view: ReportView, name: str) -> list[tuple[int, int, float]]:
    """Return seed, step and headline metric of each evaluation of a method."""
    points = [(p.seed, p.step, p.metrics.get(view.metric)) for p in view.results[name].training_curve]
    return [(seed, step, value) for seed, step, value in points if value is not None]


def _draw_learning_curve(
    axes: Axes, view: ReportView, name: str, points: Sequence[tuple[int, int, float]]
) -> PlotLabel | None:
    style = get_series_style(view, name)
    by_seed: dict[int, list[tuple[int, float]]] = {}
    by_step: dict[int, list[float]] = {}
    for seed, step, value in points:
        by_seed.setdefault(seed, []).append((step, value))
        by_step.setdefault(step, []).append(value)
    for curve in by_seed.values() if len(by_seed) > 1 and name in view.named_methods else ():
        axes.plot(*zip(*sorted(curve), strict=True), color=style["color"], linewidth=0.7, alpha=0.3)
    means = {float(step): sum(values) / len(values) for step, values in sorted(by_step.items())}
    return _draw_line(axes, view, name, means, {})


def plot_low_data(view: ReportView) -> list[ReportPlot]:
    """Plot quality against the number of training examples; methods that train nothing are dashed lines."""
    metric, full = view.metric, view.report.data.train.num_examples
    sizes = {name: by_size for name in view.scored_methods if (by_size := view.results[name].metrics_by_train_size)}
    if not sizes:
        return []
    flat = [n for n in view.scored_methods if n not in sizes and not view.methods[n].kind.is_trained]
    figure, axes = _create_axes(view, "With fewer examples", "on the test set; bars span the seeds", [*sizes, *flat])
    ticks, values = {math.log2(full): f"{full:,}"}, list[float]()
    labels: list[PlotLabel | None] = []
    for name, by_size in sizes.items():
        scores = {math.log2(int(n)): metrics[metric] for n, metrics in by_size.items() if _has_mean(metrics, metric)}
        ticks |= {math.log2(int(n)): f"{int(n):,}" for n in by_size}
        scores |= {math.log2(full): view.get_score(name)}
        values += [value for score in scores.values() for value in get_seed_values(score)]
        labels.append(_draw_scores(axes, view, name, scores))
    for name in (name for name in flat if name in view.named_methods):
        mean, color = view.get_metric_mean(name), get_series_style(view, name)["color"]
        axes.axhline(mean, color=color, linewidth=1.4, dashes=(4, 3))
        labels.append(PlotLabel(max(ticks), mean, wrap_text(view.get_title(name), 18), color))
        values.append(mean)
    axes.set_xticks(list(ticks), list(ticks.values()))
    _finish_axes(axes, view, "training examples, logarithmic scale", values, [label for label in labels if label])
    summary = (
        "The last point of each line is the method trained on all examples. Dashed lines are methods without training."
    )
    summary += describe_unnamed_methods(view)
    return [ReportPlot("low-data", "With fewer examples", "otherwise", summary, figure)]


def plot_sweeps(view: ReportView) -> list[ReportPlot]:
    """Plot quality against the values of each setting of the sweep, one plot per setting."""
    settings = dict.fromkeys(
        setting for name in view.scored_methods for setting in view.results[name].metrics_by_setting
    )
    return [plot for index, setting in enumerate(settings) for plot in _plot_sweep(view, setting, index)]


def _plot_sweep(view: ReportView, setting: str, index: int) -> list[ReportPlot]:
    metric = view.metric
    swept = {
        name: {value: metrics[metric] for value, metrics in by_value.items() if _has_mean(metrics, metric)}
        for name in view.scored_methods
        if (by_value := view.results[name].metrics_by_setting.get(setting))
    }
    swept = {name: scores for name, scores in swept.items() if scores}
    if not swept:
        return []
    figure, axes = _create_axes(view, f"By {setting}", "on the test set; bars span the seeds", swept)
    positions, x_label = _set_value_ticks(
        axes, list(dict.fromkeys(value for scores in swept.values() for value in scores))
    )
    labels = [
        label
        for name, scores in swept.items()
        if (label := _draw_scores(axes, view, name, {positions[value]: score for value, score in scores.items()}))
    ]
    values = [value for scores in swept.values() for score in scores.values() for value in get_seed_values(score)]
    _finish_axes(axes, view, x_label, values, labels)
    summary = f"The mean of each method at each value of {setting}, all else equal.{describe_unnamed_methods(view)}"
    return [ReportPlot(f"sweep-{index + 1}", f"By {setting}", "otherwise", summary, figure)]


def _set_value_ticks(axes: Axes, values: Sequence[str]) -> tuple[dict[str, float], str]:
    """Return the x position of each value of a setting, numeric if all values are numbers, and the axis label."""
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        positions = {value: float(index) for index, value in enumerate(values)}
        axes.set_xticks(list(positions.values()), [wrap_text(value, 12, 3) for value in values])
        axes.set_xlim(-0.4, len(values) - 0.6)
        return positions, ""
    low, high = min(numbers.values()), max(numbers.values())
    logarithmic = low > 0 and high > SWEEP_LOG_RATIO * low
    positions = {value: math.log10(number) if logarithmic else number for value, number in numbers.items()}
    axes.set_xticks(list(positions.values()), list(positions))
    return positions, "logarithmic scale" if logarithmic else ""


def _draw_scores(axes: Axes, view: ReportView, name: str, scores: Mapping[float, MetricSummary]) -> PlotLabel | None:
    means = {x: score.mean for x, score in sorted(scores.items()) if score.mean is not None}
    ranges = {x: (min(values), max(values)) for x, score in scores.items() if len(values := get_seed_values(score)) > 1}
    return _draw_line(axes, view, name, means, ranges)


def _draw_line(
    axes: Axes, view: ReportView, name: str, means: Mapping[float, float], ranges: Mapping[float, tuple[float, float]]
) -> PlotLabel | None:
    """Draw the line of a method and its ranges; return the label for its end, None for a method without a name."""
    if name not in view.named_methods:
        axes.plot(list(means), list(means.values()), linewidth=0.7, color=LIGHT_PALETTE["muted"], alpha=0.45, zorder=1)
        return None
    style = get_series_style(view, name)
    axes.plot(list(means), list(means.values()), linewidth=1.8, markersize=4, **style)
    for x, (low, high) in ranges.items():
        axes.plot([x, x], [low, high], color=style["color"], linewidth=1.2, alpha=0.5)
    last = max(means)
    return PlotLabel(last, means[last], wrap_text(view.get_title(name), 18), style["color"])


def _create_axes(view: ReportView, title: str, scope: str, methods: Iterable[str]) -> tuple[Any, Axes]:
    lines = sum(name in view.named_methods for name in methods)
    note = describe_metric_axis(view.metric, view.higher_is_better, scope)
    return create_axes(title, note, height=max(2.6, 0.32 * lines), right_margin=LABEL_MARGIN)


def _finish_axes(
    axes: Axes, view: ReportView, x_label: str, values: Sequence[float], labels: Sequence[PlotLabel]
) -> None:
    set_metric_axis(axes, "y", view.metric, values)
    set_x_label(axes, x_label)
    axes.autoscale_view()
    label_line_ends(axes, labels)


def _has_mean(metrics: MetricSummaries, metric: str) -> bool:
    return metric in metrics and metrics[metric].mean is not None
