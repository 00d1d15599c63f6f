"""The report of a comparison: its recommendation, its plots and its page. This package loads no model."""

from __future__ import annotations

from softprompt.comparison.report.html.report_page import write_report
from softprompt.comparison.report.recommendation import recommend_method

__all__ = ["recommend_method", "write_report"]
