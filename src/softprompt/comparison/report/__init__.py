"""The report of a comparison: what it recommends, its plots and its page. It measures nothing and loads no model."""

from __future__ import annotations

from softprompt.comparison.report.page import write_report
from softprompt.comparison.report.recommendation import recommend

__all__ = ["recommend", "write_report"]
