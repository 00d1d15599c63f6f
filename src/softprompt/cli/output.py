"""How commands print: one JSON object on standard output for scripts, tables and sentences for people."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel="Machine")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel="Machine")]
BaseModel = Annotated[
    str | None,
    typer.Option("--model", help="The base model, where it is not to be found under the name the prompt knows."),
]

people = Console(soft_wrap=True, highlight=False, emoji=False)
notes = Console(stderr=True, highlight=False, emoji=False)


def print_json(value: Any) -> None:
    """One JSON object, on one line."""
    print(json.dumps(value, ensure_ascii=False))  # noqa: T201


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f}%"
