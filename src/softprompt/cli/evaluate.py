"""`softprompt evaluate`: a prompt on examples it has not seen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from softprompt.cli.output import (
    BaseModel,
    CombinedBy,
    Device,
    Dtype,
    FormatName,
    Json,
    Names,
    Together,
    names_of,
    never,
    notes,
    people,
    print_json,
)
from softprompt.cli.progress_lines import busy

logger = logging.getLogger("softprompt.cli")


def evaluate(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    data: Annotated[str, typer.Option(help="Examples with known answers: a file, a folder, or hf:NAME of the Hub.")],
    with_: Together = None,
    by: CombinedBy = "mean",
    map_: Names = None,
    format_: FormatName = None,
    hard_prompt: Annotated[
        bool, typer.Option(help="Measure the same template without the soft prompt as well.")
    ] = True,
    max_new_tokens: Annotated[int, typer.Option(help="The longest response, where responses are written.")] = 128,
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure a prompt on examples it has not seen, beside the same template with no soft prompt.

    Classification: accuracy, macro F1, loss, and what always answering the most frequent label is worth. Generation and chat: perplexity, BLEU against all right responses, and the
    share of responses that loop ("the the the"). Token classification: F1 of names, accuracy of words. Extraction: F1
    and exact match. With `--with`, several prompts classify together.
    """
    from softprompt.cli.loading import load_all
    from softprompt.data import read_examples
    from softprompt.evaluation import Sampling
    from softprompt.evaluation import evaluate as measure

    with busy(notes, f"reading {data}"):
        examples = read_examples(data, names_of(map_), format_)
    logger.info("%s", examples.summary)
    saved, base = load_all([prompt, *(with_ or [])], model, device, dtype)
    with busy(notes, f"evaluating {len(examples)} examples") as activity:
        sampling = Sampling(max_new_tokens=max_new_tokens)
        figures = measure(
            base, saved, examples, hard_prompt=hard_prompt, sampling=sampling, by=by, on_progress=activity.follow
        )
    if as_json:
        print_json(figures)
    else:
        bare = figures.pop("hard_prompt", None)
        missed = figures.pop("never_answered", ())
        people.print(_table(figures, bare))
        if missed:
            people.print(f"[yellow]{escape(never(missed))}[/]")


def _table(figures: dict[str, Any], bare: dict[str, Any] | None) -> Table:
    table = Table(title=f"{figures.pop('examples')} examples", title_justify="left")
    table.add_column("")
    table.add_column("soft prompt", justify="right")
    if bare:
        table.add_column("hard prompt", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.4g}", *([f"{bare[name]:.4g}"] if bare else []))
    return table
