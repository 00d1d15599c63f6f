"""`softprompt classify`: labels for texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from softprompt.cli.output import (
    BaseModel,
    CombinedBy,
    Device,
    Dtype,
    Json,
    Together,
    notes,
    people,
    percent,
    print_json,
)
from softprompt.cli.progress_lines import busy
from softprompt.errors import DataError

if TYPE_CHECKING:
    from softprompt.evaluation import Prediction


def classify(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; without any, one a line from standard input.")
    ] = None,
    with_: Together = None,
    by: CombinedBy = "mean",
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Label texts: the most probable label of each, and the probability of every label.

    With `--with`, several prompts for one task answer together, in one batch.
    """
    from softprompt.cli.loading import load_all
    from softprompt.evaluation import classify as label

    saved, base = load_all([prompt, *(with_ or [])], model, device, dtype)
    texts = texts or _lines()
    with busy(notes, f"classifying {len(texts)} texts"):
        found = label(base, saved, texts, by=by)
    if as_json:
        print_json({"results": [vars(prediction) for prediction in found]})
    else:
        print_predictions(found)


def _lines() -> list[str]:
    try:
        return [line for line in (raw.rstrip("\r\n") for raw in sys.stdin) if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not {error.encoding}: {error.reason}") from error


def print_predictions(predictions: list[Prediction]) -> None:
    """A line a text: label, its probability, and the text."""
    width = max((len(p.label) for p in predictions), default=0)
    for prediction in predictions:
        share = percent(prediction.probabilities[prediction.label])
        people.print(f"[bold]{escape(f'{prediction.label:<{width}}')}[/]  {share:>6}  ", end="")
        people.print(prediction.text, markup=False, soft_wrap=True)
