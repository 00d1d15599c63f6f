"""Writes a report as files: report.json, report.html and the plots."""

from __future__ import annotations

from pathlib import Path

from softprompt.atomic import atomic_write_file
from softprompt.comparison.report.html.report_page import render_page
from softprompt.comparison.report.plots.plot_builder import build_plots
from softprompt.comparison.report.plots.report_plot import render_figure
from softprompt.comparison.report.report_file import serialize_report
from softprompt.comparison.report.report_sanitizer import sanitize_report
from softprompt.comparison.report.report_schema import Report
from softprompt.comparison.report.report_view import ReportView
from softprompt.errors import translate_os_errors


def write_report(report: Report, folder: Path) -> None:
    """Write report.json, report.html and plots/NAME.png and .svg into a folder, each file atomically.

    Args:
        report: report with its recommendation.
        folder: output folder; created if missing.

    Raises:
        DiskFull: the disk is full. Files that were written before are complete.
        SettingError: the folder cannot be written.
    """
    with translate_os_errors(folder):
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        # report.json first: the results must not be lost if a plot fails.
        atomic_write_file(folder / "report.json", serialize_report(report))
        view = ReportView(sanitize_report(report))
        svg_plots = [(plot, render_figure(plot.figure, "svg")) for plot in build_plots(view)]
        for plot, svg in svg_plots:
            atomic_write_file(folder / "plots" / f"{plot.name}.svg", svg)
            atomic_write_file(folder / "plots" / f"{plot.name}.png", render_figure(plot.figure, "png"))
        atomic_write_file(folder / "report.html", render_page(view, svg_plots).encode())
