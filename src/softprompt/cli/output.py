"""Output of commands: one JSON object on standard output for scripts, or tables and text; and shared options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from softprompt.cli.safe_console import SafeConsole
from softprompt.cli.terminal_escapes import dump_json_line

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel="Machine")]
DtypeOption = Annotated[
    str,
    typer.Option(
        help="auto, float32, bfloat16, float16, or quantized by bitsandbytes: int8, nf4.", rich_help_panel="Machine"
    ),
]
BaseModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Base model: smollm2-135m, a folder, a .gguf file, or a Hub id.  \\[default: the model in the prompt's manifest]",
    ),
]
FieldMapOption = Annotated[
    str | None,
    typer.Option(
        "--map", help="Field names: softprompt's name=data's name, such as text=review,label=stars.", show_default=False
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="classification, input-output, alpaca, chat, sharegpt, question (question-from-0, question-from-1, question-by-text), token-classification, extraction (extraction-utf-16, extraction-utf-8) or fields.  \\[default: detected from the fields]",
    ),
]

EnsembleOption = Annotated[
    list[Path] | None,
    typer.Option("--with", help="Another prompt for the same task, for an ensemble. Repeatable."),
]
CombineOption = Annotated[
    str, typer.Option("--combine", help="How an ensemble combines predictions: mean (of probabilities) or vote.")
]

#: Of several processes launched by accelerate or torchrun only the main one prints results. All of them print errors.
is_main_process = int(os.environ.get("RANK", "0")) == 0
stdout_console = SafeConsole(soft_wrap=True, highlight=False, emoji=False, quiet=not is_main_process)
stderr_console = SafeConsole(stderr=True, highlight=False, emoji=False, quiet=not is_main_process)


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    if is_main_process:
        print(dump_json_line(value))  # noqa: T201


def format_percent(share: float) -> str:
    """Format a fraction as a percentage."""
    return f"{100 * share:.1f}%"


def describe_never_predicted(labels: Sequence[str], max_listed: int = 5) -> str:
    """Return a warning about labels that are never predicted, which metrics alone do not show."""
    names = ", ".join(map(repr, labels[:max_listed])) + (
        f" and {len(labels) - max_listed} more" if len(labels) > max_listed else ""
    )
    return f"The prompt never predicts {names}, although examples have this label."
