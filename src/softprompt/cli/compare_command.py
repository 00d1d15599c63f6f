"""`softprompt compare`: compares methods to adapt a model, on the user's data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape, render
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from softprompt.cli.command_flags import insert_flags
from softprompt.cli.option_parser import parse_field_map, unescape_template
from softprompt.cli.output import (
    DeviceOption,
    DtypeOption,
    FieldMapOption,
    FormatOption,
    JsonOption,
    format_percent,
    print_json,
    stderr_console,
    stdout_console,
)
from softprompt.cli.progress_lines import ProgressLines, TaskProgress
from softprompt.cli.task_options import (
    LabelFieldOption,
    LabelsOption,
    ResponseFieldOption,
    TaskOption,
    TemplateOption,
    VerbalizerOption,
)
from softprompt.comma_lists import split_list, split_pairs
from softprompt.errors import SettingError

if TYPE_CHECKING:
    from softprompt.comparison import Report
    from softprompt.comparison.report.method_result import MethodEntry

BUDGET_PANEL, API_PANEL = "Budget", "API"


def compare_command(
    data: Annotated[str, typer.Option(help="Training examples: a file, a folder, or hf:NAME on the Hub.")],
    test: Annotated[str, typer.Option(help="Test examples, used only for the final measurement.")],
    output: Annotated[
        Path,
        typer.Option(help="Folder for the report. A repeated command continues with the finished runs in the folder."),
    ],
    model: Annotated[
        str, typer.Option(help="Base model: smollm2-135m (bundled), a folder, a .gguf file, or a Hub id.")
    ] = "smollm2-135m",
    validation: Annotated[
        str | None,
        typer.Option(
            help="Validation examples, which select learning rates and steps.  \\[default: a tenth of the data is held out]"
        ),
    ] = None,
    max_eval_samples: Annotated[
        int, typer.Option(help="Maximum number of validation examples, sampled by label; 0 for all.")
    ] = 1000,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods, comma-separated: hard, few-shot:K, api[:MODEL], prompt, residual, p-tuning[:lstm], context, prefix[:mlp], p-tuning-v2, lora[:RANK], dora, lokr, ia3, adapter[:WIDTH], bitfit, head, last:K, full, or module:Class for a custom method."
        ),
    ] = "hard,few-shot:8,prompt,prefix,lora,full",
    seeds: Annotated[int, typer.Option(help="Number of training seeds per method.")] = 3,
    trials: Annotated[
        int, typer.Option(help="Number of learning rates to try per method.", rich_help_panel=BUDGET_PANEL)
    ] = 3,
    max_steps: Annotated[int, typer.Option(help="Training steps per run.", rich_help_panel=BUDGET_PANEL)] = 100,
    batch_size: Annotated[int, typer.Option(help="Examples per step.", rich_help_panel=BUDGET_PANEL)] = 16,
    budget_minutes: Annotated[
        float | None,
        typer.Option(
            help="Total training time in minutes, shared evenly by all runs, instead of --max-steps. Evaluation is not included.",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = None,
    train_sizes: Annotated[
        str | None,
        typer.Option(
            help="Numbers of training examples for the learning curve: 16,64,256.", rich_help_panel=BUDGET_PANEL
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Vary a setting of the soft-prompt methods: num-virtual-tokens=1,5,20. Repeatable.", show_default=False
        ),
    ] = None,
    out_of_domain: Annotated[str | None, typer.Option(help="Out-of-domain test examples of the same task.")] = None,
    reference_text: Annotated[
        Path | None,
        typer.Option(
            help="File with text unrelated to the task, to measure forgetting.  \\[default: a text in the package]"
        ),
    ] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Allow test examples that are also training or validation examples.")
    ] = False,
    map_: FieldMapOption = None,
    format_: FormatOption = None,
    task: TaskOption = None,
    template: TemplateOption = None,
    labels: LabelsOption = None,
    verbalizer: VerbalizerOption = None,
    label_field: LabelFieldOption = None,
    response_field: ResponseFieldOption = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Base URL of an OpenAI-compatible API. The key is in OPENAI_API_KEY.", rich_help_panel=API_PANEL
        ),
    ] = None,
    api_model: Annotated[str | None, typer.Option(help="Model name at the API.", rich_help_panel=API_PANEL)] = None,
    api_prices: Annotated[
        str | None,
        typer.Option(
            help="Prices in dollars per million prompt and completion tokens: 0.15,0.60.", rich_help_panel=API_PANEL
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare methods to adapt the model to your data under one budget, and write a report.

    All methods share splits, template, loss, budget and number of learning rates. Validation examples select the learning
    rate and the step; test examples are used once per seed. The report (`OUTPUT/report.html`) recommends a method with
    reasons, and says "better" only if a paired bootstrap test shows it. A failed method is reported, and the others continue.
    Ctrl-C keeps finished runs, and the same command continues from there.
    """
    from softprompt.comparison import CompareSettings, run_comparison
    from softprompt.comparison.report.report_sanitizer import shorten_label

    options = {
        "model": model, "data": data, "validation": validation, "test": test, "out_of_domain": out_of_domain,
        "max_eval_samples": max_eval_samples, "reference_text": reference_text, "map": parse_field_map(map_), "format": format_, "task": task,
        "template": None if template is None else unescape_template(template), "labels": labels and split_list("--labels", labels),
        "verbalizer": {} if verbalizer is None else split_pairs("--verbalizer", "label=word", verbalizer),
        "label_field": label_field, "response_field": response_field, "methods": [method.strip() for method in methods.split(",")], "seeds": seeds,
        "trials": trials, "max_steps": max_steps, "batch_size": batch_size, "budget_minutes": budget_minutes,
        "train_sizes": parse_int_list("--train-sizes", train_sizes), "sweep": _parse_sweeps(sweep or []),
        "allow_overlap": allow_overlap, "base_url": base_url, "api_model": api_model,
        "api_prices": None if api_prices is None else api_prices.split(","), "output": output, "device": device,
        "dtype": dtype,
    }  # fmt: skip
    settings = CompareSettings.from_dict({name: value for name, value in options.items() if value is not None})
    sys.path.insert(0, str(Path.cwd()))  # for custom methods as module:Class, as with `python -m`
    with CompareProgressBar().show_live() as progress:
        report = run_comparison(settings, progress, ["softprompt", *sys.argv[1:]])
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        stdout_console.print(_build_table(report))
        majority = report.data.test.majority
        if majority and majority.is_uneven:
            label, share = escape(repr(shorten_label(majority.label))), format_percent(majority.share)
            stdout_console.print(
                f"The labels are imbalanced: always predicting {label} has an accuracy of {share} on the test examples."
            )
        stdout_console.print(f"\n{escape(report.recommendation.summary)}\n")
        stdout_console.print(f"The report is in [bold]{escape(str(output / 'report.html'))}[/]")
    for run_name, error in [skipped for result in report.results.values() for skipped in result.skipped_runs.items()]:
        stderr_console.print(f"skipped: {escape(run_name)}: {escape(insert_flags(error))}")
    if not report.results:
        raise SettingError("all methods failed: see the report for the reasons")


class CompareProgressBar:
    """A progress bar of a comparison: finished runs, the current run, and the remaining time."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"),
            TextColumn("{task.fields[left]}"), console=stderr_console, transient=True,
            disable=not stderr_console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("preparing", total=None, now="", left="")
        self.num_runs = self.num_done = self.num_executed = self.num_done_of_method = 0
        self.run_started_at: float | None = None
        self.seconds_spent = 0.0
        self.num_steps = 1
        self.activity = TaskProgress("preparing the data and the model")
        self.plain_lines = ProgressLines(stderr_console, self._describe_progress)

    @contextmanager
    def show_live(self) -> Iterator[CompareProgressBar]:
        """Draw the bar inside a `with` block. Ctrl-C prints that finished runs are kept."""
        with self.bar, self.plain_lines.print_periodically():
            try:
                yield self
            except KeyboardInterrupt:
                stderr_console.print("stopped: finished runs are kept, and the same command continues from there")
                raise

    def on_comparison_begin(self, num_runs: int) -> None:
        """Set the number of runs."""
        self.num_runs = num_runs
        self.bar.update(self.task, total=num_runs, completed=0)

    def on_method_begin(self, name: str, title: str) -> None:  # noqa: ARG002
        """Show the title of the method."""
        self.num_done_of_method = 0
        self.bar.update(self.task, description=title, now="")

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Update the bar with an event of the worker process."""
        match event["event"]:
            case "run_began":
                self.run_started_at = time.monotonic()
                self.bar.update(self.task, now=escape(event["run"]))
            case "train_began":
                self.num_steps = event["steps"]
            case "step":
                share = f"step {event['step']}/{self.num_steps}  loss {event['loss']:.3f}"
                self.bar.update(self.task, now=share, left=self._time_left())
            case "run_ended":
                self.num_done_of_method += 1
                if self.run_started_at is not None:  # the run was executed now, not in an earlier command
                    self.num_executed, self.seconds_spent, self.run_started_at = (
                        self.num_executed + 1,
                        self.seconds_spent + time.monotonic() - self.run_started_at,
                        None,
                    )
                self.bar.update(self.task, completed=self.num_done + self.num_done_of_method, left=self._time_left())
        self.plain_lines.print_if_due()

    def on_method_end(self, name: str, num_runs: int, error: str | None) -> None:
        """Print a line about a finished or failed method."""
        self.num_done += num_runs
        self.bar.update(self.task, completed=self.num_done, left=self._time_left())
        status = "[green]done[/]  " if error is None else "[red]failed[/]"
        stderr_console.print(f"{status} {escape(name)}{'' if error is None else ': ' + escape(insert_flags(error))}")

    def _describe_progress(self) -> str:
        """Return the contents of the bar as one line."""
        if not self.num_runs:
            return str(self.activity)
        task = self.bar.tasks[0]
        done = f"{task.description}: {self.num_done + self.num_done_of_method} of {self.num_runs} runs done"
        return ", ".join(filter(None, (done, render(task.fields["now"]).plain, task.fields["left"])))

    def _time_left(self) -> str:
        """Estimate the remaining time from the mean time of the executed runs."""
        if not self.num_executed:
            return ""
        minutes = (
            self.seconds_spent / self.num_executed * (self.num_runs - self.num_done - self.num_done_of_method) / 60
        )
        return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"


def parse_int_list(option: str, text: str | None) -> list[int]:
    """Parse a comma-separated list of positive integers.

    Args:
        option: flag for the error message.
        text: value of the option, or None.

    Raises:
        SettingError: an entry is not a positive integer.
    """
    parts = [part.strip() for part in text.split(",")] if text else []
    if invalid := [part for part in parts if not part.isdecimal() or int(part) < 1]:
        raise SettingError(
            f"{option} {text}: {invalid[0]!r} is not a positive integer: separate positive integers by commas"
        )
    return [int(part) for part in parts]


def _parse_sweeps(texts: list[str]) -> dict[str, list[str]]:
    sweeps: dict[str, list[str]] = {}
    for name, values in map(_parse_sweep, texts):
        sweeps.setdefault(name, []).extend(values)
    return sweeps


def _parse_sweep(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise SettingError(f"--sweep {text}: pass a setting and its values, such as num-virtual-tokens=1,5,20")
    return name.strip(), split_list(f"--sweep {name}", values)


def _build_table(report: Report) -> Table:
    metric = report.headline_metric
    table = Table(title=f"{report.data.test.num_examples} test examples", title_justify="left")
    for name in ("method", metric, "worst seed", "trained parameters", "size per task", "training time"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for name, entry in report.methods.items():
        table.add_row(escape(name), *_format_row(entry, metric))
    return table


def _format_row(entry: MethodEntry, metric: str) -> list[str]:
    if entry.status == "failed":
        return ["failed"]
    score = entry.metrics.get(metric)
    std = "" if score is None or score.std is None else f" ± {score.std:.3f}"
    return [
        "–" if score is None or score.mean is None else f"{score.mean:.3f}{std}",
        "–" if score is None or score.worst is None else f"{score.worst:.3f}",
        f"{entry.num_trained_parameters:,}" if entry.num_trained_parameters else "–",
        format_bytes(entry.stored_bytes_per_task),
        "–" if entry.train_seconds is None else f"{entry.train_seconds:.0f} s",
    ]


def format_bytes(num_bytes: int) -> str:
    """Format a number of bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} B"
