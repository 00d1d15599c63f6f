"""The report as files: report.json, report.html and the plots. The words are in page.html, the looks in page.css.

The page is one file that fetches nothing: its plots stand in it, in the reader's light or dark colours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from softprompt.comparison.report import quantities
from softprompt.comparison.report.canvas import Chart, inline, picture
from softprompt.comparison.report.charts import draw
from softprompt.comparison.report.colours import DARK, LIGHT, role_of, sign_of
from softprompt.comparison.report.findings import Findings, finite
from softprompt.comparison.report.readable import make_readable
from softprompt.comparison.report.tables import (
    MOST_LABELS,
    confused_ways,
    metrics_elsewhere,
    metrics_of,
    mistakes,
    worst_labels,
)
from softprompt.errors import disk_errors
from softprompt.saved.folders import write_file
from softprompt.unicode_text import escape_json

#: How the template writes quantities.
FILTERS = (
    "capitalise",
    "list_few",
    "metric_name",
    "compared_by",
    "figure",
    "spread",
    "spaced",
    "number",
    "size",
    "duration",
    "share",
    "count",
    "many",
    "rate",
)

#: Between a number and its unit no line should end.
_UNIT = re.compile(r"(?<=\d) (?=(?:[kMGT]?B|m?s|min|h|points?)\b)")


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write report.json, report.html and plots/NAME.png and .svg into a folder, each file whole or not at all.

    Args:
        report: all of report.json, its `recommendation` included.
        folder: where to; it is made where it is missing.

    Raises:
        DiskFull: the files that were written before are whole.
        SettingError: the place cannot be written.
    """
    found = finite(report)
    with disk_errors(folder):
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        # First, so that what was measured outlives a plot that cannot be drawn.
        write_file(folder / "report.json", _json(found))
        findings = Findings(make_readable(found))
        drawn = [(chart, picture(chart.figure, "svg")) for chart in draw(findings)]
        for chart, svg in drawn:
            write_file(folder / "plots" / f"{chart.name}.svg", svg)
            write_file(folder / "plots" / f"{chart.name}.png", picture(chart.figure, "png"))
        write_file(folder / "report.html", page(findings, drawn).encode())


def page(findings: Findings, drawn: Sequence[tuple[Chart, bytes]]) -> str:
    """The page of a report.

    Args:
        findings: the report, read.
        drawn: its plots, each with its SVG.
    """
    plots = [(chart, inline(chart, svg, f"about-{chart.name}")) for chart, svg in drawn]
    template = _words(findings).get_template("page.html")
    return template.render(
        report=findings.report,
        findings=findings,
        plots=plots,
        themes={"light": LIGHT, "dark": DARK},
        roles={name: role_of(place) for place, name in enumerate(findings.ways)},
        signs={name: sign_of(place) for place, name in enumerate(findings.ways)},
        shares=quantities.SHARES,
        metrics=metrics_of(findings),
        elsewhere=metrics_elsewhere(findings),
        mistakes=mistakes,
        confused=confused_ways(findings),
        worst=worst_labels(findings) if len(findings.report["task"]["labels"]) > MOST_LABELS else [],
        most_labels=MOST_LABELS,
    )


def _words(findings: Findings) -> Environment:
    """What fills in the template; whoever names a way, a file or a template writes none of the page."""
    words = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words.filters.update({name: getattr(quantities, name) for name in FILTERS})
    words.filters["unbroken"] = lambda text: _UNIT.sub("\N{NO-BREAK SPACE}", text)
    ways = findings.ways
    words.tests["tried"] = lambda name: bool((ways[name].get("learning_rate") or {}).get("trials"))
    words.tests["calling"] = lambda name: bool(ways[name].get("calls"))
    return words


def _json(report: Mapping[str, Any]) -> bytes:
    lines = json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False).split("\n")  # none is within a string
    return ("\n".join(map(escape_json, lines)) + "\n").encode()
