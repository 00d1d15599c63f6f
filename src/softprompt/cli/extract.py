"""`softprompt extract`: the part of a text that answers a question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softprompt.cli.output import BaseModel, Device, Dtype, Json, notes, people, percent, print_json
from softprompt.cli.progress_lines import busy


def extract(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    question: Annotated[str, typer.Option(help="What is asked.")],
    context: Annotated[str, typer.Option(help="The text that the answer is a part of.")],
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Answer a question with a part of a text, and say how probable it is."""
    from softprompt.cli.loading import load
    from softprompt.evaluation import extract as answered

    saved, base = load(prompt, model, device, dtype)
    with busy(notes, "looking for the answer"):
        found = answered(base, saved, question, context)
    if as_json:
        print_json(vars(found))
        return
    people.print(f"{percent(found.probability):>6}  ", end="")
    people.print(found.answer, markup=False, soft_wrap=True)
