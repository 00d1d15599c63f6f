"""Plots of quality and cost: quality per method and seed, and quality against trained parameters and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from softprompt.comparison.report.formatters import capitalize_first, format_duration, format_metric
from softprompt.comparison.report.method_result import MetricSummary
from softprompt.comparison.report.plots.label_layout import PlotLabel, label_points, wrap_text
from softprompt.comparison.report.plots.palette import LIGHT_PALETTE, get_color_role, get_marker
from softprompt.comparison.report.plots.plot_axes import (
    describe_metric_axis,
    get_power_ticks,
    get_time_ticks,
    set_log_axis_with_zero,
    set_metric_axis,
)
from softprompt.comparison.report.plots.report_plot import SMALL_TEXT_SIZE, ReportPlot, create_axes, set_x_label
from softprompt.comparison.report.report_view import ReportView

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def get_series_style(view: ReportView, name: str) -> dict[str, Any]:
    """Return the color and marker of a method, the same in every plot."""
    index = list(view.methods).index(name)
    return {"color": LIGHT_PALETTE[get_color_role(index)], "marker": get_marker(index)}


def get_seed_values(score: MetricSummary) -> list[float]:
    """Return the known values of the seeds, or the mean if there are none."""
    values = [value for value in score.values if value is not None]
    return values if values or score.mean is None else [score.mean]


def plot_quality(view: ReportView) -> ReportPlot:
    """Plot the mean and the seeds of every method, the best on top."""
    names = sorted(view.scored_methods, key=lambda name: view.to_gain(view.get_metric_mean(name)))
    note = describe_metric_axis(view.metric, view.higher_is_better, "on the test set, mean and every seed")
    figure, axes = create_axes(
        "Quality", note, height=max(0.3 * len(names), 0.5), left_margin=1.4, right_margin=0.55, bottom_margin=0.3
    )
    for row, name in enumerate(names):
        style = get_series_style(view, name)
        values = get_seed_values(view.get_score(name))
        axes.plot([min(values), max(values)], [row, row], color=style["color"], linewidth=2, alpha=0.45)
        axes.plot(values, [row] * len(values), "|", color=style["color"], markersize=8)
        axes.plot(view.get_metric_mean(name), row, linestyle="", markersize=7, **style)
        mean = format_metric(view.get_metric_mean(name), view.metric)
        axes.text(1.03, row, mean, transform=axes.get_yaxis_transform(), va="center", size=SMALL_TEXT_SIZE)
    axes.set_yticks(range(len(names)), [wrap_text(view.get_title(n), 22) for n in names], color=LIGHT_PALETTE["ink"])
    axes.set_ylim(-0.6, len(names) - 0.4)
    _draw_baseline(axes, view)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=LIGHT_PALETTE["rule"], linewidth=0.7)
    set_metric_axis(axes, "x", view.metric, [value for n in names for value in get_seed_values(view.get_score(n))])
    best = format_metric(view.get_metric_mean(view.best_method), view.metric)
    summary = (
        f"The best mean is that of {view.get_title(view.best_method)}, {best}. "
        "A tick is a seed, the marker is the mean of the seeds."
    )
    return ReportPlot("quality", "Quality", "price", summary, figure)


def _draw_baseline(axes: Axes, view: ReportView) -> None:
    if view.baseline_method is not None:
        axes.axvline(
            view.get_metric_mean(view.baseline_method),
            color=LIGHT_PALETTE["muted"],
            linewidth=0.8,
            dashes=(3, 3),
            zorder=0.5,
        )


def plot_quality_by_parameters(view: ReportView) -> ReportPlot:
    """Plot quality against the number of trained parameters."""
    counts = {name: float(view.results[name].num_trained_parameters) for name in view.scored_methods}
    untrained = " Methods without training are left of the dotted line." if not all(counts.values()) else ""
    summary = f"Methods further left train fewer parameters.{untrained}"
    texts = "Quality and trained parameters", "parameters", "none", summary
    return _plot_trade_off(view, counts, get_power_ticks, texts)


def plot_quality_by_time(view: ReportView) -> ReportPlot:
    """Plot quality against the duration of one training run."""
    seconds = {name: view.results[name].train_seconds or 0.0 for name in view.scored_methods}
    trained = {name: value for name, value in seconds.items() if value}
    longest = max(trained, key=lambda name: trained[name], default=None)
    summary = "Methods further left train faster."
    if longest is not None:
        title = capitalize_first(view.get_title(longest))
        summary += f" {title} takes longest, {format_duration(trained[longest])} for one run."
    return _plot_trade_off(view, seconds, get_time_ticks, ("Quality and training time", "time", "none", summary))


def _plot_trade_off(
    view: ReportView,
    values: Mapping[str, float],
    get_ticks: Callable[[Iterable[float]], Mapping[float, str]],
    texts: tuple[str, str, str, str],
) -> ReportPlot:
    title, quantity, zero_label, summary = texts
    metric = view.metric
    note = describe_metric_axis(metric, view.higher_is_better, "on the test set; bars from worst to best seed")
    figure, axes = create_axes(title, note, height=max(3.0, 0.5 * len(view.named_methods) - 1))
    x_positions = set_log_axis_with_zero(axes, values, get_ticks, zero_label)
    labels, all_scores = [], list[float]()
    for name, x in x_positions.items():
        style, scores = get_series_style(view, name), get_seed_values(view.get_score(name))
        bar = min(scores), max(scores)
        is_named = name in view.named_methods
        if is_named:
            axes.plot([x, x], bar, color=style["color"], linewidth=1.5, alpha=0.5)
            labels.append(
                PlotLabel(x, view.get_metric_mean(name), wrap_text(view.get_title(name), 16, 3), style["color"], bar)
            )
        axes.plot(x, view.get_metric_mean(name), linestyle="", markersize=7 if is_named else 4, **style)
        all_scores += scores
    axes.margins(y=0.12)
    set_metric_axis(axes, "y", metric, all_scores)
    set_x_label(
        axes, {"parameters": "trained parameters, logarithmic scale", "time": "duration of one training run"}[quantity]
    )
    axes.autoscale_view(scalex=False)
    label_points(axes, labels)
    return ReportPlot(f"quality-{quantity}", title, "price", summary + describe_unnamed_methods(view), figure)


def describe_unnamed_methods(view: ReportView) -> str:
    """Return a further sentence for a plot's summary if not all methods are named in the plot."""
    others = len(view.scored_methods) - len(view.named_methods)
    return f" {others:,} more methods are drawn without names: the tables show their markers." if others else ""
