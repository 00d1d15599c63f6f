"""`softprompt data inspect`: reports on a data set before training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from softprompt.cli.console import format_percent, print_json, stderr_console, stdout_console
from softprompt.cli.option_parser import parse_field_map, unescape_template
from softprompt.cli.options import FieldMapOption, FormatOption, JsonOption
from softprompt.cli.progress_lines import show_activity, track_items

if TYPE_CHECKING:
    from softprompt.data import Example, ExampleDataset
    from softprompt.tasks import Objective, Task
    from softprompt.tasks.dataset_report import HistogramBin, RenderedExample, SplitReport
    from softprompt.training.tune_settings import TuneSettings

MAX_BAR_WIDTH = 50
MAX_SHOWN_CHARS = 1200  # per segment of a sample; a longer segment is abridged

app = typer.Typer(name="data", no_args_is_help=True, help="Inspect data before training.")


@app.callback()
def data_callback() -> None:
    """Inspect data before training."""


@app.command("inspect")
def inspect_command(
    data: Annotated[
        str, typer.Argument(metavar="FILE", help="Examples: a file, a folder of save_to_disk, or hf:NAME on the Hub.")
    ],
    validation: Annotated[str | None, typer.Option(help="Validation examples, which select the best step.")] = None,
    test: Annotated[str | None, typer.Option(help="Test examples.")] = None,
    map_: FieldMapOption = None,
    format_: FormatOption = None,
    template: Annotated[
        str | None, typer.Option(help="Template of the prompt, as in tune.  \\[default: chosen by the data format]")
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Model whose tokenizer counts tokens: smollm2-135m, a folder, a .gguf file, or a Hub id."),
    ] = "smollm2-135m",
    as_json: JsonOption = False,
) -> None:
    """Report on a data set: format, label counts, lengths in tokens, duplicates and contradictions.

    The report counts inputs that FILE, --validation and --test share, because shared inputs make results look too good.
    Three samples show the model's input, with the supervised part marked ⟦so⟧.
    """
    settings = _build_settings(data, validation, map_, format_, template, model)
    with show_activity(stderr_console, "reading"):
        examples = _read_splits(settings, test)
    from softprompt.tasks import dataset_report, filter_answered_splits
    from softprompt.training.task_builder import build_task

    with show_activity(stderr_console, "reading"):
        task = build_task(settings, examples["data"])
        examples = filter_answered_splits(task, examples)
        objective = _bind_objective(settings, task)

    splits = {name: dataset_report.inspect_split(objective, split, _track_examples) for name, split in examples.items()}
    overlaps = {pair: splits[pair[0]].count_overlap(splits[pair[1]]) for pair in combinations(splits, 2)}
    samples = dataset_report.render_samples(objective, examples["data"])
    if as_json:
        print_json(_report_json(splits, overlaps, samples))
    else:
        _print_report(splits, overlaps, samples)


def _build_settings(
    data: str, validation: str | None, field_map: str | None, format_: str | None, template: str | None, model: str
) -> TuneSettings:
    from softprompt.training import TuneSettings

    options = {
        "data": data,
        "validation": validation,
        "map": parse_field_map(field_map),
        "format": format_,
        "template": None if template is None else unescape_template(template),
        "model": model,
        "output": "unsaved",
    }
    return TuneSettings.from_dict(options)


def _read_splits(settings: TuneSettings, test: str | None) -> dict[str, ExampleDataset]:
    from softprompt.data import read_examples
    from softprompt.training.example_splits import load_examples

    examples = load_examples(settings)
    if test is None:
        return examples
    return {**examples, "test": read_examples(test, settings.map, examples["data"].mapping.format.name)}


def _bind_objective(settings: TuneSettings, task: Task) -> Objective:
    """Bind the task to the model, without virtual tokens in the context window."""
    from softprompt.model import load_model
    from softprompt.training.task_builder import bind_without_prompt

    return bind_without_prompt(task, load_model(settings.model))


def _track_examples(examples: Iterable[Example], name: str, count: int) -> Iterable[Example]:
    return track_items(stderr_console, examples, f"tokenizing {name}", count)


def _report_json(
    splits: Mapping[str, SplitReport], overlaps: Mapping[tuple[str, str], int], samples: list[RenderedExample]
) -> dict[str, Any]:
    from softprompt.tasks.dataset_report import compute_histogram, compute_quantiles

    return {
        "format": splits["data"].format,
        "splits": {
            name: {
                "source": split.source,
                "num_examples": split.num_examples,
                "label_counts": dict(split.label_counts),
                "majority": None if split.majority_label is None else vars(split.majority_label),
                "num_duplicates": split.num_duplicates,
                "num_contradictions": split.num_contradictions,
                "num_truncated": split.num_truncated,
                "tokens": compute_quantiles(split.lengths),
                "histogram": [vars(bar) for bar in compute_histogram(split.lengths)],
            }
            for name, split in splits.items()
        },
        "overlap": [{"between": list(pair), "count": count} for pair, count in overlaps.items()],
        "samples": [
            {"location": sample.location, "segments": [vars(segment) for segment in sample.segments]}
            for sample in samples
        ],
    }


def _print_report(
    splits: Mapping[str, SplitReport], overlaps: Mapping[tuple[str, str], int], samples: list[RenderedExample]
) -> None:
    from softprompt.tasks.dataset_report import compute_histogram

    stdout_console.print(_build_table(splits))
    for name, split in splits.items():
        if split.majority_label is not None and split.majority_label.is_uneven:
            stdout_console.print(
                f"{name}: the labels are imbalanced. Always predicting {escape(repr(split.majority_label.label))} has an accuracy "
                f"of {format_percent(split.majority_label.share)}: compare macro F1 instead of accuracy"
            )
    for (one, other), count in overlaps.items():
        stdout_console.print(f"{one} and {other} share [bold]{count}[/] inputs")
    for name, split in splits.items():
        stdout_console.print(f"\n[bold]tokens per example[/] ({name})")
        stdout_console.print(_render_histogram(compute_histogram(split.lengths)))
    for sample in samples:
        stdout_console.print(f"\n[bold]{escape(sample.location)}[/]")
        stdout_console.print(_render_sample(sample))


def _build_table(splits: Mapping[str, SplitReport]) -> Table:
    from softprompt.tasks.dataset_report import compute_quantiles

    reports = list(splits.values())
    table = Table("", *splits)
    table.add_row("format", *(split.format for split in reports))
    table.add_row("examples", *(f"{split.num_examples:,}" for split in reports))
    for label in reports[0].label_counts:
        table.add_row(Text(f"labelled {label}"), *(f"{split.label_counts[label]:,}" for split in reports))
    table.add_row("duplicates", *(f"{split.num_duplicates:,}" for split in reports))
    table.add_row("contradictions (same input, other output)", *(f"{split.num_contradictions:,}" for split in reports))
    table.add_row("too long for the context window", *(f"{split.num_truncated:,}" for split in reports))
    lengths = [compute_quantiles(split.lengths) for split in reports]
    for name, meaning in {"min": "minimum", "median": "median", "p95": "95th percentile", "max": "maximum"}.items():
        table.add_row(f"tokens: {meaning}", *(f"{quantiles[name]:,}" for quantiles in lengths))
    return table


def _render_histogram(bins: list[HistogramBin]) -> Text:
    """Return one line per bin, with a bar proportional to the count."""
    max_count = max(bar.count for bar in bins)
    width = len(str(bins[-1].high))
    lines = [
        f"{bar.low:>{width}} – {bar.high:>{width}}  {'█' * -(-bar.count * MAX_BAR_WIDTH // max_count)} {bar.count:,}"
        for bar in bins
    ]
    return Text("\n".join(lines))


def _render_sample(sample: RenderedExample) -> Text:
    text = Text()
    for segment in sample.segments:
        shown = _abridge_text(segment.text)
        text.append(f"⟦{shown}⟧" if segment.supervised else shown, style="bold green" if segment.supervised else "")
    return text


def _abridge_text(text: str) -> str:
    half = MAX_SHOWN_CHARS // 2
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:half]} … {text[-half:]}"
