"""Renders a report as an HTML page. The text is in page.html and sections/, the style in page.css.

The page is one file that loads nothing else: its plots are inline, in the reader's light or dark colors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
from softprompt.comparison.report.plots.report_plot import ReportPlot, make_inline_svg
from softprompt.comparison.report.report_view import ReportView

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
        worst_labels=find_worst_labels(view) if len(view.report.task.labels) > MAX_MATRIX_LABELS else [],
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
    environment.tests["has_trials"] = lambda name: bool((s := view.results[name].learning_rates) and s.trials)
    environment.tests["uses_api"] = lambda name: view.results[name].api_usage is not None
    return environment
