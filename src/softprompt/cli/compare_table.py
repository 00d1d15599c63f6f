"""The results of a comparison in the terminal. The module imports the comparison, so it is imported lazily."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from softprompt.cli.console import format_percent
from softprompt.comparison import Report
from softprompt.comparison.report.formatters import MISSING, format_bytes, format_count
from softprompt.comparison.report.method_result import MethodEntry
from softprompt.comparison.report.report_sanitizer import shorten_label
from softprompt.comparison.report.report_schema import SplitInfo
from softprompt.comparison.report.report_view import ReportView


def build_compare_table(report: Report) -> Table:
    """Return a table with a row per method: headline metric, worst seed, parameters, storage and training time.

    If a method repeats tokens in each request, before its input, their number is the last column.
    """
    metric = report.headline_metric
    table = Table(title=f"{report.data.test.num_examples} test examples", title_justify="left")
    repeats_tokens = ReportView(report).repeats_tokens
    columns = ["method", metric, "worst seed", "trained parameters", "size per task", "training time"]
    for name in [*columns, "tokens per request"] if repeats_tokens else columns:
        table.add_column(name, justify="left" if name == "method" else "right")
    for name, entry in report.methods.items():
        row = _format_row(entry, metric)
        if repeats_tokens and entry.status == "completed":
            row.append(format_count(entry.num_request_tokens))
        table.add_row(escape(name), *row)
    return table


def describe_majority(split: SplitInfo) -> str:
    """Return a warning, in markup, about a split with imbalanced labels; empty for other splits."""
    if split.majority is None or not split.majority.is_uneven:
        return ""
    label, share = escape(repr(shorten_label(split.majority.label))), format_percent(split.majority.share)
    return f"The labels are imbalanced: always predicting {label} has an accuracy of {share} on the test examples."


def _format_row(entry: MethodEntry, metric: str) -> list[str]:
    if entry.status == "failed":
        return ["failed"]
    score = entry.metrics.get(metric)
    std = "" if score is None or score.std is None else f" ± {score.std:.3f}"
    return [
        MISSING if score is None or score.mean is None else f"{score.mean:.3f}{std}",
        MISSING if score is None or score.worst is None else f"{score.worst:.3f}",
        f"{entry.num_trained_parameters:,}" if entry.num_trained_parameters else MISSING,
        format_bytes(entry.stored_bytes_per_task),
        MISSING if entry.train_seconds is None else f"{entry.train_seconds:.0f} s",
    ]
