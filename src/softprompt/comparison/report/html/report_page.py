"""Writes a report as files: report.json, report.html and the plots. The text is in page.html, the style in page.css.

The page is one file that loads nothing else: its plots are inline, in the reader's light or dark colors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from softprompt.atomic import atomic_write_file
from softprompt.comparison.report import formatters
from softprompt.comparison.report.html.table_data import (
    MAX_MATRIX_LABELS,
    find_top_confusions,
    find_worst_labels,
    list_other_metrics,
    list_out_of_domain_metrics,
    select_confusion_methods,
)
from softprompt.comparison.report.plots.palette import DARK_PALETTE, LIGHT_PALETTE, get_color_role, get_marker_symbol
from softprompt.comparison.report.plots.plot_builder import build_plots
from softprompt.comparison.report.plots.report_plot import ReportPlot, make_inline_svg, render_figure
from softprompt.comparison.report.report_sanitizer import sanitize_report
from softprompt.comparison.report.report_upgrade import upgrade_report
from softprompt.comparison.report.report_view import ReportView, replace_non_finite
from softprompt.errors import translate_os_errors
from softprompt.unicode_text import escape_json

#: Formatters that the template uses as filters.
TEMPLATE_FILTERS = (
    "capitalize_first",
    "join_few",
    "get_metric_name",
    "get_compared_metric_name",
    "format_metric",
    "format_spread",
    "format_difference",
    "format_number",
    "format_bytes",
    "format_duration",
    "format_percent",
    "format_count",
    "pluralize",
    "format_rate",
)

#: A space between a number and its unit, where a line must not break.
_UNIT_SPACE = re.compile(r"(?<=\d) (?=(?:[kMGT]?B|m?s|min|h|points?)\b)")


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write report.json, report.html and plots/NAME.png and .svg into a folder, each file atomically.

    Args:
        report: contents of report.json, its `recommendation` included. A report of version 1 is upgraded.
        folder: output folder; created if missing.

    Raises:
        DiskFull: the disk is full. Files that were written before are complete.
        SettingError: the folder cannot be written.
    """
    finite = replace_non_finite(upgrade_report(report))
    with translate_os_errors(folder):
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        # report.json first: the results must not be lost if a plot fails.
        atomic_write_file(folder / "report.json", _serialize_report(finite))
        view = ReportView(sanitize_report(finite))
        svg_plots = [(plot, render_figure(plot.figure, "svg")) for plot in build_plots(view)]
        for plot, svg in svg_plots:
            atomic_write_file(folder / "plots" / f"{plot.name}.svg", svg)
            atomic_write_file(folder / "plots" / f"{plot.name}.png", render_figure(plot.figure, "png"))
        atomic_write_file(folder / "report.html", render_page(view, svg_plots).encode())


def render_page(view: ReportView, svg_plots: Sequence[tuple[ReportPlot, bytes]]) -> str:
    """Return the HTML page of a report.

    Args:
        view: the report.
        svg_plots: the plots of the report, each with its SVG file.
    """
    plots = [(plot, make_inline_svg(plot, svg, f"about-{plot.name}")) for plot, svg in svg_plots]
    template = _create_environment(view).get_template("page.html")
    return template.render(
        report=view.report,
        view=view,
        plots=plots,
        themes={"light": LIGHT_PALETTE, "dark": DARK_PALETTE},
        color_roles={name: get_color_role(index) for index, name in enumerate(view.methods)},
        symbols={name: get_marker_symbol(index) for index, name in enumerate(view.methods)},
        percent_metrics=formatters.PERCENT_METRICS,
        other_metrics=list_other_metrics(view),
        out_of_domain_metrics=list_out_of_domain_metrics(view),
        find_top_confusions=find_top_confusions,
        confusion_methods=select_confusion_methods(view),
        worst_labels=find_worst_labels(view) if len(view.report["task"]["labels"]) > MAX_MATRIX_LABELS else [],
        max_matrix_labels=MAX_MATRIX_LABELS,
    )


def _create_environment(view: ReportView) -> Environment:
    """Create the template's environment. Names of methods, files and templates are escaped: they are untrusted."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(formatters, name) for name in TEMPLATE_FILTERS})
    environment.filters["non_breaking"] = lambda text: _UNIT_SPACE.sub("\N{NO-BREAK SPACE}", text)
    methods = view.methods
    environment.tests["has_trials"] = lambda name: bool((methods[name].get("learning_rates") or {}).get("trials"))
    environment.tests["uses_api"] = lambda name: bool(methods[name].get("api_usage"))
    return environment


def _serialize_report(report: Mapping[str, Any]) -> bytes:
    # No line break is inside a string: JSON escapes them.
    lines = json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False).split("\n")
    return ("\n".join(map(escape_json, lines)) + "\n").encode()
