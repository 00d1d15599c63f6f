"""`softprompt tag`: a tag for every word of a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from softprompt.cli.output import BaseModel, Device, Dtype, Json, notes, people, percent, print_json
from softprompt.cli.progress_lines import busy

if TYPE_CHECKING:
    from softprompt.evaluation import Tagging


def tag(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    text: Annotated[str, typer.Argument(help="Words, with white space between them.")],
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Tag the words of a text: the most probable tag of each, and the probability of every tag."""
    from softprompt.cli.loading import load
    from softprompt.evaluation import tag as tagged

    saved, base = load(prompt, model, device, dtype)
    with busy(notes, "tagging"):
        found = tagged(base, saved, text)
    if as_json:
        print_json(vars(found))
    else:
        print_tags(found)


def print_tags(found: Tagging) -> None:
    """A line a word: tag, its probability, and the word; a dash for a word that was not read."""
    names = [each or "–" for each in found.tags]
    width = max(map(len, names))
    for word, name, probabilities in zip(found.words, names, found.probabilities, strict=True):
        share = percent(probabilities[name]) if probabilities else "–"
        people.print(f"[bold]{escape(f'{name:<{width}}')}[/]  {share:>6}  ", end="")
        people.print(word, markup=False, soft_wrap=True)
