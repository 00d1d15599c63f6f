"""`softprompt compare`: which way to adapt a model, on the user's own data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape, render
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from softprompt.cli.flags import with_flags
from softprompt.cli.output import Device, Dtype, FormatName, Json, Names, names_of, notes, people, percent, print_json
from softprompt.cli.parsing import unescaped
from softprompt.cli.progress_lines import Activity, ProgressLines
from softprompt.cli.task_options import LabelField, Labels, ResponseField, TaskName, TemplateText, Verbalizer
from softprompt.errors import SettingError
from softprompt.quoting import split_list, split_pairs

BUDGET, API = "Budget", "API"


def compare(
    data: Annotated[str, typer.Option(help="Examples to learn from: a file, a folder, or hf:NAME of the Hub.")],
    test: Annotated[str, typer.Option(help="Examples that nothing is chosen by: each way is measured on them.")],
    output: Annotated[
        Path, typer.Option(help="The report's folder. Run again, the command goes on from what is there.")
    ],
    model: Annotated[
        str, typer.Option(help="smollm2-135m (embedded), a folder, a .gguf file, or a Hub id.")
    ] = "smollm2-135m",
    validation: Annotated[
        str | None,
        typer.Option(help="Examples to choose rates and steps by.  \\[default: a tenth of the data is held out]"),
    ] = None,
    validation_rows: Annotated[
        int, typer.Option(help="At most so many validation examples are measured, each label with its share; 0: all.")
    ] = 1000,
    ways: Annotated[
        str,
        typer.Option(
            help="Comma-separated: hard, few-shot:K, api[:MODEL], prompt, residual, p-tuning[:lstm], context, prefix[:mlp], p-tuning-v2, lora[:RANK], dora, lokr, ia3, adapter[:WIDTH], bitfit, head, last:K, full, or your own as module:Class."
        ),
    ] = "hard,few-shot:8,prompt,prefix,lora,full",
    seeds: Annotated[int, typer.Option(help="How many seeds each way is trained with.")] = 3,
    trials: Annotated[int, typer.Option(help="How many learning rates each way may try.", rich_help_panel=BUDGET)] = 3,
    steps: Annotated[int, typer.Option(help="Updates of each training.", rich_help_panel=BUDGET)] = 100,
    batch_size: Annotated[int, typer.Option(help="Examples in an update.", rich_help_panel=BUDGET)] = 16,
    budget_minutes: Annotated[
        float | None,
        typer.Option(
            help="Instead of --steps: minutes that all trainings may take together, shared evenly. Measuring comes on top.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Numbers of training examples, for the low-data curve: 16,64,256.", rich_help_panel=BUDGET),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="Vary a setting of the soft prompts: virtual-tokens=1,5,20. Repeatable.", show_default=False),
    ] = None,
    out_of_domain: Annotated[
        str | None, typer.Option(help="Examples of the same task from elsewhere, measured beside --test.")
    ] = None,
    neutral: Annotated[
        Path | None,
        typer.Option(help="A text that has nothing to do with the task, to measure forgetting by.  \\[default: ours]"),
    ] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Go on where test examples are among the others.")
    ] = False,
    map_: Names = None,
    format_: FormatName = None,
    task: TaskName = None,
    template: TemplateText = None,
    labels: Labels = None,
    verbalizer: Verbalizer = None,
    label_field: LabelField = None,
    response_field: ResponseField = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="Where an OpenAI-compatible API answers; its key is in OPENAI_API_KEY.", rich_help_panel=API),
    ] = None,
    api_model: Annotated[str | None, typer.Option(help="The model to ask it for.", rich_help_panel=API)] = None,
    api_prices: Annotated[
        str | None,
        typer.Option(help="Dollars per million prompt and completion tokens: 0.15,0.60.", rich_help_panel=API),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Find out which way to adapt the model is right for your data: train each under one budget, and write a report.

    Every way has the same splits, template, loss, budget and number of learning rates to try, chosen on the validation
    examples; the test examples are used once a seed. The report (`OUTPUT/report.html`) says what to choose and why, and
    "better" only where a paired bootstrap shows it. A way that fails is marked, and the others go on. Ctrl-C keeps what
    is finished, and the same command goes on from there.
    """
    from softprompt.comparison import CompareSettings, run
    from softprompt.comparison.report.readable import shorten_label

    given = {
        "model": model, "data": data, "validation": validation, "test": test, "out_of_domain": out_of_domain,
        "validation_rows": validation_rows, "neutral": neutral, "map": names_of(map_), "format": format_, "task": task,
        "template": None if template is None else unescaped(template), "labels": labels and split_list("--labels", labels),
        "verbalizer": {} if verbalizer is None else split_pairs("--verbalizer", "label=word", verbalizer),
        "label_field": label_field, "response_field": response_field, "ways": [way.strip() for way in ways.split(",")], "seeds": seeds,
        "trials": trials, "steps": steps, "batch_size": batch_size, "budget_minutes": budget_minutes,
        "sizes": numbers("--sizes", sizes), "sweep": _all_swept(sweep or []),
        "allow_overlap": allow_overlap, "base_url": base_url, "api_model": api_model,
        "api_prices": None if api_prices is None else api_prices.split(","), "output": output, "device": device,
        "dtype": dtype,
    }  # fmt: skip
    settings = CompareSettings.of({name: value for name, value in given.items() if value is not None})
    sys.path.insert(0, str(Path.cwd()))  # for ways of the user's own, as `python -m` would find them
    with Shown().listening() as progress:
        report = run(settings, progress, ["softprompt", *sys.argv[1:]])
    if as_json:
        print_json(report)
    else:
        people.print(_table(report))
        majority = report["data"]["test"].get("majority")
        if majority and majority["is_uneven"]:
            label, share = escape(repr(shorten_label(majority["label"]))), percent(majority["share"])
            people.print(f"The labels are uneven: always answering {label} is right on {share} of the test examples.")
        people.print(f"\n{escape(report['recommendation']['words'])}\n")
        people.print(f"The report is in [bold]{escape(str(output / 'report.html'))}[/]")
    for cell, error in [each for way in report["ways"].values() for each in way.get("left_out", {}).items()]:
        notes.print(f"left out: {escape(cell)}: {escape(with_flags(error))}")
    if all("error" in way for way in report["ways"].values()):
        raise SettingError("every way failed: the report has their reasons")


class Shown:
    """A progress that draws: cells done, which one is run, and the time that the rest will take."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"),
            TextColumn("{task.fields[left]}"), console=notes, transient=True,
            disable=not notes.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("preparing", total=None, now="", left="")
        self.cells = self.done = self.run = self.of_way = 0
        self.started: float | None = None
        self.spent = 0.0
        self.steps = 1
        self.preparing = Activity("preparing: the data, the model")
        self.lines = ProgressLines(notes, self._described)

    @contextmanager
    def listening(self) -> Iterator[Shown]:
        """Draw meanwhile; Ctrl-C keeps what is finished, and says so."""
        with self.bar, self.lines.shown():
            try:
                yield self
            except KeyboardInterrupt:
                notes.print("stopped: finished cells are kept, and the same command goes on from there")
                raise

    def begin(self, cells: int) -> None:
        """There are so many cells."""
        self.cells = cells
        self.bar.update(self.task, total=cells, completed=0)

    def way_began(self, name: str, title: str) -> None:  # noqa: ARG002
        """A way is run."""
        self.of_way = 0
        self.bar.update(self.task, description=title, now="")

    def heard(self, event: Mapping[str, Any]) -> None:
        """Move with what its worker tells."""
        match event["event"]:
            case "cell_began":
                self.started = time.monotonic()
                self.bar.update(self.task, now=escape(event["cell"]))
            case "begin":
                self.steps = event["steps"]
            case "step":
                share = f"step {event['step']}/{self.steps}  loss {event['loss']:.3f}"
                self.bar.update(self.task, now=share, left=self._left())
            case "cell_ended":
                self.of_way += 1
                if self.started is not None:  # it was run, and not finished before
                    self.run, self.spent, self.started = (
                        self.run + 1,
                        self.spent + time.monotonic() - self.started,
                        None,
                    )
                self.bar.update(self.task, completed=self.done + self.of_way, left=self._left())
        self.lines.look()

    def way_ended(self, name: str, cells: int, error: str | None) -> None:
        """A line for what is finished or failed."""
        self.done += cells
        self.bar.update(self.task, completed=self.done, left=self._left())
        mark = "[green]done[/]  " if error is None else "[red]failed[/]"
        notes.print(f"{mark} {escape(name)}{'' if error is None else ': ' + escape(with_flags(error))}")

    def _described(self) -> str:
        """What the bar shows, as a line."""
        if not self.cells:
            return str(self.preparing)
        task = self.bar.tasks[0]
        done = f"{task.description}: {self.done + self.of_way} of {self.cells} cells done"
        return ", ".join(filter(None, (done, render(task.fields["now"]).plain, task.fields["left"])))

    def _left(self) -> str:
        """The time left, as if the cells to come took as long as those that were run."""
        if not self.run:
            return ""
        minutes = self.spent / self.run * (self.cells - self.done - self.of_way) / 60
        return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"


def numbers(option: str, text: str | None) -> list[int]:
    """Numbers that are separated by commas.

    Raises:
        SettingError: one is no number above zero.
    """
    parts = [part.strip() for part in text.split(",")] if text else []
    if wrong := [part for part in parts if not part.isdecimal() or int(part) < 1]:
        raise SettingError(f"{option} {text}: write numbers above zero, separated by commas (at {wrong[0]!r})")
    return [int(part) for part in parts]


def _all_swept(texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, values in map(_swept, texts):
        found.setdefault(name, []).extend(values)
    return found


def _swept(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise SettingError(f"--sweep {text}: write a setting and its values, as in virtual-tokens=1,5,20")
    return name.strip(), split_list(f"--sweep {name}", values)


def _table(report: Mapping[str, Any]) -> Table:
    metric = report["metric"]
    table = Table(title=f"{report['data']['test']['examples']} test examples", title_justify="left")
    for name in ("way", metric, "worst seed", "trained", "a task takes", "trained in"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for name, way in report["ways"].items():
        table.add_row(escape(name), *_figures(way, metric))
    return table


def _figures(way: Mapping[str, Any], metric: str) -> list[str]:
    if "error" in way:
        return ["failed"]
    quality = way.get(metric) or {}
    spread = "" if quality.get("spread") is None else f" ± {quality['spread']:.3f}"
    return [
        f"{quality['mean']:.3f}{spread}" if quality else "–",
        f"{quality['worst']:.3f}" if quality else "–",
        f"{way['trained_parameters']:,}" if way["trained_parameters"] else "–",
        size(way["bytes_per_task"]),
        "–" if way["seconds"] is None else f"{way['seconds']:.0f} s",
    ]


def size(count: int) -> str:
    """Bytes as people read them."""
    for unit, each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= each:
            return f"{count / each:.1f} {unit}"
    return f"{count} B"
