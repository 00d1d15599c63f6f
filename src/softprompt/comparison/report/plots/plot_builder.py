"""Builds all plots of a report in the page's order. Each plot names its section of the page."""

from __future__ import annotations

from softprompt.comparison.report.plots.line_plots import plot_learning_curves, plot_low_data, plot_sweeps
from softprompt.comparison.report.plots.report_plot import ReportPlot, use_plot_style
from softprompt.comparison.report.plots.scatter_plots import (
    plot_quality,
    plot_quality_by_parameters,
    plot_quality_by_time,
)
from softprompt.comparison.report.report_view import ReportView


def build_plots(view: ReportView) -> list[ReportPlot]:
    """Draw the plots for which a report has data; none if no method was scored."""
    if not view.scored_methods:
        return []
    with use_plot_style():
        compared = [plot_quality(view), plot_quality_by_parameters(view), plot_quality_by_time(view)]
        return [*compared, *plot_learning_curves(view), *plot_low_data(view), *plot_sweeps(view)]
