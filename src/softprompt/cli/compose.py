"""`softprompt compose` and `softprompt similarity`: several prompts together, and how alike they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from softprompt.cli.output import BaseModel, Device, Dtype, Json, people, print_json


def compose(
    prompts: Annotated[list[Path], typer.Argument(help="Saved prompts' folders, front to back.")],
    output: Annotated[Path, typer.Option("--output", help="The saved prompt's folder to make.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a saved prompt that is there.")] = False,
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Put prompts one behind the other, such as a task's and a tenant's, and save them as one.

    The first one's task is kept. Prefixes that come to stand further back are moved there, so that each keeps its distance
    to the text.
    """
    from softprompt.cli.loading import load
    from softprompt.saved import SavedPrompt, composed

    first, base = load(prompts[0], model, device, dtype)
    saved = composed(base, [first, *(SavedPrompt.read(folder) for folder in prompts[1:])])
    saved.write(output, overwrite=overwrite)
    P = saved.payload.num_virtual_tokens
    if as_json:
        print_json({"prompt": str(output), "virtual_tokens": P, "of": [str(folder) for folder in prompts]})
    else:
        people.print(f"Composed {len(prompts)} prompts, {P} virtual tokens in all: [bold]{escape(str(output))}[/].")


def similarity(
    prompts: Annotated[list[Path], typer.Argument(help="Saved prompts' folders, two or more, of one base model.")],
    as_json: Json = False,
) -> None:
    """Compare prompts: where another task's prompt may be a good start (`tune --init prompt:FOLDER`)."""
    from softprompt.evaluation.similarity import similarity as measured
    from softprompt.saved import SavedPrompt

    found = measured([SavedPrompt.read(folder) for folder in prompts])
    if as_json:
        print_json({"prompts": [str(folder) for folder in prompts], **vars(found)})
        return
    table = Table(
        "", *(escape(folder.name) for folder in prompts), title="cosine of mean virtual tokens (mean over pairs)"
    )
    for folder, means, pairs in zip(prompts, found.mean_token, found.token_pairs, strict=True):
        cells = (f"{mean:.3f} ({pair:.3f})" for mean, pair in zip(means, pairs, strict=True))
        table.add_row(escape(folder.name), *cells)
    people.print(table)
