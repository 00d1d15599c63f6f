"""The report of a comparison: its schema, recommendation, plots and page. This package loads no model."""

from __future__ import annotations

from softprompt.comparison.report.recommendation import add_recommendation, recommend_method
from softprompt.comparison.report.report_file import load_report, parse_report
from softprompt.comparison.report.report_schema import ComparisonResults, Report
from softprompt.comparison.report.report_writer import write_report

__all__ = [
    "ComparisonResults",
    "Report",
    "add_recommendation",
    "load_report",
    "parse_report",
    "recommend_method",
    "write_report",
]
