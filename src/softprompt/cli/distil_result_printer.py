"""Prints the result of `softprompt distil`, as JSON and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from softprompt.cli.console import format_percent, stdout_console

if TYPE_CHECKING:
    from softprompt.distillation import DistillResult
    from softprompt.distillation.distill_report import DistillReport, ReportRow

#: Columns of metrics, where the report has them: heading by name.
METRIC_HEADINGS = {
    "recovery": "recovery",
    "kl": "KL",
    "agreement": "agreement",
    "accuracy": "accuracy",
    "answer_nll": "NLL of right answers",
}
PERCENTAGES = ("agreement", "accuracy")
COST_HEADINGS = ("tokens a request", "first token", "tokens/s", "KV cache")


def summarize_result(result: DistillResult) -> dict[str, Any]:
    """Return the result as the JSON object that `--json` prints."""
    return {
        "prompt": None if result.prompt is None else str(result.folder),
        "num_context_tokens": result.num_context_tokens,
        "num_virtual_tokens": None if result.prompt is None else result.prompt.manifest.num_virtual_tokens,
        "steps": result.steps,
        "seconds": round(result.seconds, 2),
        "best_step": result.best_step,
        "metrics": dict(result.metrics),
        "initial_metrics": dict(result.initial_metrics),
        "report": None if result.report is None else result.report.model_dump(mode="json"),
    }


def print_result(result: DistillResult) -> None:
    """Print the result as text."""
    folder = escape(str(result.folder))
    if result.prompt is None:
        place = f"after step {result.steps}" if result.steps else "before training"
        stdout_console.print(f"Stopped {place}. Continue:  softprompt distil --output {folder} --resume")
        return
    num_virtual_tokens = result.prompt.manifest.num_virtual_tokens
    stdout_console.print(f"{result.num_context_tokens} tokens became {num_virtual_tokens} virtual tokens.")
    report_note = ""
    if result.report is not None:
        stdout_console.print(_build_table(result.report, result.best_step, result.steps))
        report_note = f"; report and picture in {folder}.run"
    stdout_console.print(f"Saved in [bold]{folder}[/]{report_note}.")


def _build_table(report: DistillReport, best_step: int | None, steps: int) -> Table:
    """Build the table of the report: a row for each way, and a column for each metric that was measured."""
    title = f"{report.num_validation_inputs} validation inputs; the prefix of step {best_step} of {steps}"
    table = Table(title=title, title_justify="left")
    names = [name for name in METRIC_HEADINGS if name in report.rows[-1].metrics]
    table.add_column("")
    for heading in (*(METRIC_HEADINGS[name] for name in names), *COST_HEADINGS):
        table.add_column(heading, justify="right")
    for row in report.rows:
        metrics = [_format_metric(name, row.metrics.get(name)) for name in names]
        table.add_row(row.name, *metrics, *_format_costs(row), style="bold" if row is report.rows[-1] else None)
    return table


def _format_metric(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return format_percent(value) if name in PERCENTAGES else f"{value:.2f}" if name == "recovery" else f"{value:.3g}"


def _format_costs(row: ReportRow) -> tuple[str, ...]:
    """Format the columns of `COST_HEADINGS`."""
    speed = f"{row.tokens_per_second:.3g}"
    return str(row.num_request_tokens), _format_first_token(row), speed, decimal(row.kv_bytes)


def _format_first_token(row: ReportRow) -> str:
    """Format the time to the first token; with repeated tokens, also the time behind a prefix cache."""
    seconds = f"{1000 * row.first_token_seconds:.0f} ms"
    return f"{seconds} (cached {1000 * row.cached_first_token_seconds:.0f})" if row.num_request_tokens else seconds
