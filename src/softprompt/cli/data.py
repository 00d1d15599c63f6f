"""`softprompt data inspect`: what a data set is like before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from softprompt.cli.output import FormatName, Json, Names, names_of, notes, people, percent, print_json
from softprompt.cli.parsing import unescaped
from softprompt.cli.progress_lines import busy, tracked

if TYPE_CHECKING:
    from softprompt.data import Example, Examples
    from softprompt.tasks import Objective, Task
    from softprompt.training.inspection import Bar, Shown, Split
    from softprompt.training.settings import TuneSettings

WIDEST_BAR = 50
LONGEST_SHOWN = 1200  # characters of a row's part

app = typer.Typer(name="data", no_args_is_help=True, help="Look at data before anything is trained on it.")


@app.callback()
def data() -> None:
    """Look at data before anything is trained on it."""


@app.command()
def inspect(
    data: Annotated[
        str, typer.Argument(metavar="FILE", help="Examples: a file, a folder of save_to_disk, or hf:NAME of the Hub.")
    ],
    validation: Annotated[str | None, typer.Option(help="Examples to choose the best step by.")] = None,
    test: Annotated[str | None, typer.Option(help="Examples to measure on.")] = None,
    map_: Names = None,
    format_: FormatName = None,
    template: Annotated[
        str | None, typer.Option(help="What the model sees, as for tune.  \\[default: what suits the format]")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Whose tokens are counted: smollm2-135m, a folder, a .gguf file, or a Hub id.")
    ] = "smollm2-135m",
    as_json: Json = False,
) -> None:
    """Show what is in a data set: its format, how many of each label, how long in tokens, what comes twice.

    Rows that stand in two of FILE, --validation and --test make a result look better than it is. At the end stand three
    examples as the model sees them, with the part that it learns to say marked ⟦so⟧.
    """
    settings = _settings(data, validation, map_, format_, template, model)
    with busy(notes, "reading"):
        examples = _read(settings, test)
    from softprompt.tasks import with_answers_each
    from softprompt.training import inspection
    from softprompt.training.preparation import task_for

    with busy(notes, "reading"):
        task = task_for(settings, examples["data"])
        examples = with_answers_each(task, examples)
        objective = _objective(settings, task)

    splits = {name: inspection.inspect_split(objective, each, _tracked) for name, each in examples.items()}
    overlaps = {pair: splits[pair[0]].overlap(splits[pair[1]]) for pair in combinations(splits, 2)}
    shown = inspection.shown(objective, examples["data"])
    if as_json:
        print_json(_facts(splits, overlaps, shown))
    else:
        _print(splits, overlaps, shown)


def _settings(
    data: str, validation: str | None, names: str | None, format_: str | None, template: str | None, model: str
) -> TuneSettings:
    from softprompt.training import TuneSettings

    given = {
        "data": data,
        "validation": validation,
        "map": names_of(names),
        "format": format_,
        "template": None if template is None else unescaped(template),
        "model": model,
        "output": "unsaved",
    }
    return TuneSettings.of(given)


def _read(settings: TuneSettings, test: str | None) -> dict[str, Examples]:
    from softprompt.data import read_examples
    from softprompt.training.preparation import read

    examples = read(settings)
    if test is None:
        return examples
    return {**examples, "test": read_examples(test, settings.map, examples["data"].meaning.format.name)}


def _objective(settings: TuneSettings, task: Task) -> Objective:
    """The task on the model, with the whole window to itself."""
    from softprompt.model import load_model
    from softprompt.training.preparation import bare

    return bare(task, load_model(settings.model))


def _tracked(examples: Iterable[Example], name: str, count: int) -> Iterable[Example]:
    return tracked(notes, examples, f"{name} in tokens", count)


def _facts(splits: Mapping[str, Split], overlaps: Mapping[tuple[str, str], int], shown: list[Shown]) -> dict[str, Any]:
    from softprompt.training.inspection import histogram, quantiles

    return {
        "format": splits["data"].format,
        "splits": {
            name: {
                "source": split.source,
                "examples": split.examples,
                "labels": dict(split.labels),
                "majority": None if split.majority is None else vars(split.majority),
                "duplicates": split.duplicates,
                "contradictions": split.contradictions,
                "cut": split.cut,
                "tokens": quantiles(split.lengths),
                "histogram": [vars(bar) for bar in histogram(split.lengths)],
            }
            for name, split in splits.items()
        },
        "overlap": [{"between": list(pair), "inputs": count} for pair, count in overlaps.items()],
        "shown": [{"where": each.where, "pieces": [vars(piece) for piece in each.pieces]} for each in shown],
    }


def _print(splits: Mapping[str, Split], overlaps: Mapping[tuple[str, str], int], shown: list[Shown]) -> None:
    from softprompt.training.inspection import histogram

    people.print(_table(splits))
    for name, split in splits.items():
        if split.majority is not None and split.majority.is_uneven:
            people.print(
                f"{name}: the labels are uneven. Always answering {escape(repr(split.majority.label))} is right on "
                f"{percent(split.majority.share)}: judge by macro F1, not by accuracy"
            )
    for (one, other), count in overlaps.items():
        people.print(f"{one} and {other} share [bold]{count}[/] inputs")
    for name, split in splits.items():
        people.print(f"\n[bold]tokens in a row[/] ({name})")
        people.print(_picture(histogram(split.lengths)))
    for each in shown:
        people.print(f"\n[bold]{escape(each.where)}[/]")
        people.print(_rendered(each))


def _table(splits: Mapping[str, Split]) -> Table:
    from softprompt.training.inspection import quantiles

    found = list(splits.values())
    table = Table("", *splits)
    table.add_row("format", *(split.format for split in found))
    table.add_row("examples", *(f"{split.examples:,}" for split in found))
    for label in found[0].labels:
        table.add_row(Text(f"labelled {label}"), *(f"{split.labels[label]:,}" for split in found))
    table.add_row("repeat an earlier one", *(f"{split.duplicates:,}" for split in found))
    table.add_row("same input, other answer", *(f"{split.contradictions:,}" for split in found))
    table.add_row("too long for the window", *(f"{split.cut:,}" for split in found))
    lengths = [quantiles(split.lengths) for split in found]
    for name, meaning in {"min": "fewest", "median": "median", "p95": "95% have at most", "max": "most"}.items():
        table.add_row(f"tokens: {meaning}", *(f"{each[name]:,}" for each in lengths))
    return table


def _picture(bars: list[Bar]) -> Text:
    """A line a range of lengths, with a bar as long as there are many."""
    most = max(bar.count for bar in bars)
    width = len(str(bars[-1].high))
    lines = [
        f"{bar.low:>{width}} – {bar.high:>{width}}  {'█' * -(-bar.count * WIDEST_BAR // most)} {bar.count:,}"
        for bar in bars
    ]
    return Text("\n".join(lines))


def _rendered(shown: Shown) -> Text:
    text = Text()
    for piece in shown.pieces:
        words = _abridged(piece.text)
        text.append(f"⟦{words}⟧" if piece.supervised else words, style="bold green" if piece.supervised else "")
    return text


def _abridged(text: str) -> str:
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]} … {text[-half:]}"
