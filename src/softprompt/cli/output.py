"""How commands print: one JSON object on standard output for scripts, tables and sentences for people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from softprompt.cli.console import SafeConsole
from softprompt.cli.terminal import json_text
from softprompt.quoting import split_pairs

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel="Machine")]
Dtype = Annotated[
    str,
    typer.Option(
        help="auto, float32, bfloat16, float16, or quantised by bitsandbytes: int8, nf4.", rich_help_panel="Machine"
    ),
]
BaseModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The base model (smollm2-135m, a folder, a .gguf file, or a Hub id), if it is not where the prompt says.",
    ),
]
Names = Annotated[
    str | None,
    typer.Option("--map", help="Our names of fields to the data's own: text=review,label=stars.", show_default=False),
]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="classification, input-output, alpaca, chat, sharegpt, question (question-from-0, question-from-1, question-by-text), token-classification, extraction (extraction-utf-16, extraction-utf-8) or fields.  \\[default: told by the fields]",
    ),
]

Together = Annotated[
    list[Path] | None,
    typer.Option("--with", help="Another prompt for the same task, to answer together with. Repeatable."),
]
CombinedBy = Annotated[str, typer.Option("--by", help="How prompts answer together: mean (of probabilities) or vote.")]

#: Of several processes that accelerate or torchrun launched one speaks; errors, which may be one's own, all of them say.
speaks = int(os.environ.get("RANK", "0")) == 0
people = SafeConsole(soft_wrap=True, highlight=False, emoji=False, quiet=not speaks)
notes = SafeConsole(stderr=True, highlight=False, emoji=False, quiet=not speaks)


def names_of(text: str | None) -> dict[str, str]:
    """What `--map` says: our names of fields to the data's own.

    Raises:
        SettingError: it is written otherwise.
    """
    return {} if text is None else split_pairs("--map", "ours=theirs", text)


def print_json(value: Any) -> None:
    """One JSON object, on one line."""
    if speaks:
        print(json_text(value))  # noqa: T201


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f}%"


def never(labels: Sequence[str], most: int = 5) -> str:
    """That some labels are never answered, which a figure alone does not say."""
    named = ", ".join(map(repr, labels[:most])) + (f" and {len(labels) - most} more" if len(labels) > most else "")
    return f"It never answers {named}, which examples have as their label."
