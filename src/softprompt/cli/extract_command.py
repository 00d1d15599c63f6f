"""`softprompt extract`: answers a question with a span of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softprompt.cli.console import format_percent, print_json, stderr_console, stdout_console
from softprompt.cli.options import BaseModelOption, DeviceOption, DtypeOption, JsonOption
from softprompt.cli.progress_lines import show_activity


def extract_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    question: Annotated[str, typer.Option(help="The question.")],
    context: Annotated[str, typer.Option(help="The text that contains the answer.")],
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Answer a question with a span of a text, and print the probability of the span."""
    from softprompt.cli.prompt_and_model import load_prompt_and_model
    from softprompt.evaluation import extract

    saved, base = load_prompt_and_model(prompt, model, device, dtype)
    with show_activity(stderr_console, "extracting the answer"):
        answer = extract(base, saved, question, context)
    if as_json:
        print_json(vars(answer))
        return
    stdout_console.print(f"{format_percent(answer.probability):>6}  ", end="")
    stdout_console.print(answer.answer, markup=False, soft_wrap=True)
