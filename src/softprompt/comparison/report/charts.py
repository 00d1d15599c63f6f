"""All plots of a report, in the page's order. Each says which section it belongs to."""

from __future__ import annotations

from softprompt.comparison.report.canvas import Chart, house_style
from softprompt.comparison.report.curves import learning, low_data, sweeps
from softprompt.comparison.report.findings import Findings
from softprompt.comparison.report.trade_offs import against_parameters, against_time, quality


def draw(findings: Findings) -> list[Chart]:
    """Draw what a report has figures for; nothing where no way was judged."""
    if not findings.judged:
        return []
    with house_style():
        compared = [quality(findings), against_parameters(findings), against_time(findings)]
        return [*compared, *learning(findings), *low_data(findings), *sweeps(findings)]
