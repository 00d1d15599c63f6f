"""`softprompt classify`: predicts labels of texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from softprompt.cli.console import format_percent, print_json, stderr_console, stdout_console
from softprompt.cli.options import BaseModelOption, CombineOption, DeviceOption, DtypeOption, EnsembleOption, JsonOption
from softprompt.cli.progress_lines import show_activity
from softprompt.errors import DataError

if TYPE_CHECKING:
    from softprompt.evaluation import LabelPrediction


def classify_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts. Without texts: one text per line of standard input.")
    ] = None,
    with_: EnsembleOption = None,
    combine: CombineOption = "mean",
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict the label of each text, and the probability of every label.

    `--with` adds prompts for the same task: an ensemble, which runs in one batch.
    """
    from softprompt.cli.prompt_and_model import load_prompts_and_model
    from softprompt.evaluation import classify

    saved, base = load_prompts_and_model([prompt, *(with_ or [])], model, device, dtype)
    texts = texts or _read_stdin_lines()
    with show_activity(stderr_console, f"classifying {len(texts)} texts"):
        predictions = classify(base, saved, texts, combine=combine)
    if as_json:
        print_json({"results": [vars(prediction) for prediction in predictions]})
    else:
        print_predictions(predictions)


def _read_stdin_lines() -> list[str]:
    """Return the lines of standard input that are not blank.

    Raises:
        DataError: standard input is not valid in its encoding.
    """
    try:
        return [line for line in (raw.rstrip("\r\n") for raw in sys.stdin) if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not valid {error.encoding}: {error.reason}") from error


def print_predictions(predictions: list[LabelPrediction]) -> None:
    """Print one line per text: label, probability, text."""
    width = max((len(p.label) for p in predictions), default=0)
    for prediction in predictions:
        share = format_percent(prediction.probabilities[prediction.label])
        stdout_console.print(f"[bold]{escape(f'{prediction.label:<{width}}')}[/]  {share:>6}  ", end="")
        stdout_console.print(prediction.text, markup=False, soft_wrap=True)
