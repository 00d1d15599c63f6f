"""How commands print: one JSON object on standard output for scripts, tables and sentences for people."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from softprompt.errors import SettingError

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
        help="classification, input-output, alpaca, chat, sharegpt, question, token-classification, extraction or fields.  \\[default: told by the fields]",
    ),
]

Together = Annotated[
    list[Path] | None,
    typer.Option("--with", help="Another prompt for the same task, to answer together with. Repeatable."),
]
CombinedBy = Annotated[str, typer.Option("--by", help="How prompts answer together: mean (of probabilities) or vote.")]

#: Of several processes that accelerate or torchrun launched one speaks; errors, which may be one's own, all of them say.
speaks = int(os.environ.get("RANK", "0")) == 0
people = Console(soft_wrap=True, highlight=False, emoji=False, quiet=not speaks)
notes = Console(stderr=True, highlight=False, emoji=False, quiet=not speaks)


def pairs(option: str, form: str, text: str) -> dict[str, str]:
    """The names and values of an option that is written in pairs, of the form `label=word`.

    Raises:
        SettingError: it is written otherwise.
    """
    parts = [part.partition("=") for part in text.split(",")]
    if wrong := [name for name, equals, value in parts if not (name and equals and value)]:
        raise SettingError(f"{option} {text}: write {form}, separated by commas (at {wrong[0]!r})")
    return {name.strip(): value for name, _, value in parts}


def names_of(text: str | None) -> dict[str, str]:
    """What `--map` says: our names of fields to the data's own.

    Raises:
        SettingError: it is written otherwise.
    """
    return {} if text is None else pairs("--map", "ours=theirs", text)


def print_json(value: Any) -> None:
    """One JSON object, on one line."""
    if speaks:
        print(json.dumps(value, ensure_ascii=False))  # noqa: T201


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f}%"
