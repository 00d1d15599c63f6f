"""`softprompt tag`: predicts a tag for every word of a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from softprompt.cli.console import format_percent, print_json, stderr_console, stdout_console
from softprompt.cli.options import BaseModelOption, DeviceOption, DtypeOption, JsonOption
from softprompt.cli.progress_lines import show_activity

if TYPE_CHECKING:
    from softprompt.evaluation import TaggedWords


def tag_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    text: Annotated[str, typer.Argument(help="Words, separated by white space.")],
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict the tag of every word of a text, and the probability of every tag."""
    from softprompt.cli.prompt_and_model import load_prompt_and_model
    from softprompt.evaluation import tag

    saved, base = load_prompt_and_model(prompt, model, device, dtype)
    with show_activity(stderr_console, "tagging"):
        tagged_words = tag(base, saved, text)
    if as_json:
        print_json(vars(tagged_words))
    else:
        print_tags(tagged_words)


def print_tags(tagging: TaggedWords) -> None:
    """Print one line per word: tag, probability, word. A dash marks a word beyond the context window."""
    names = [tag or "–" for tag in tagging.tags]
    width = max(map(len, names))
    for word, name, probabilities in zip(tagging.words, names, tagging.probabilities, strict=True):
        share = format_percent(probabilities[name]) if probabilities else "–"
        stdout_console.print(f"[bold]{escape(f'{name:<{width}}')}[/]  {share:>6}  ", end="")
        stdout_console.print(word, markup=False, soft_wrap=True)
