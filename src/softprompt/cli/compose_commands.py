"""`softprompt compose` and `softprompt similarity`: concatenate prompts, and compare prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from softprompt.cli.console import print_json, stdout_console
from softprompt.cli.options import BaseModelOption, DeviceOption, DtypeOption, JsonOption


def compose_command(
    prompts: Annotated[list[Path], typer.Argument(help="Folders of the saved prompts, in order.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the new saved prompt.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing saved prompt.")] = False,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Concatenate prompts, such as a task's and a tenant's, and save them as one prompt.

    The result has the task of the first prompt. The keys of prefixes are rotated to their new positions, so that each
    virtual token keeps its distance to the text.
    """
    from softprompt.cli.prompt_and_model import load_prompt_and_model
    from softprompt.saved import SavedPrompt, compose_prompts

    first, base = load_prompt_and_model(prompts[0], model, device, dtype)
    saved = compose_prompts(base, [first, *(SavedPrompt.from_folder(folder) for folder in prompts[1:])])
    saved.save_to(output, overwrite=overwrite)
    P = saved.payload.num_virtual_tokens
    if as_json:
        print_json(
            {"prompt": str(output), "num_virtual_tokens": P, "composed_from": [str(folder) for folder in prompts]}
        )
    else:
        stdout_console.print(
            f"Composed {len(prompts)} prompts with {P} virtual tokens in total: [bold]{escape(str(output))}[/]."
        )


def similarity_command(
    prompts: Annotated[list[Path], typer.Argument(help="Folders of two or more saved prompts for one base model.")],
    as_json: JsonOption = False,
) -> None:
    """Compute the similarity of prompts. A similar prompt is a good initializer: `tune --init prompt:FOLDER`."""
    from softprompt.evaluation.prompt_similarity import compute_prompt_similarity
    from softprompt.saved import SavedPrompt

    similarity = compute_prompt_similarity([SavedPrompt.from_folder(folder) for folder in prompts])
    if as_json:
        print_json({"prompts": [str(folder) for folder in prompts], **vars(similarity)})
        return
    table = Table(
        "",
        *(escape(folder.name) for folder in prompts),
        title="cosine similarity of mean virtual tokens (mean over pairs)",
    )
    for folder, means, pairs in zip(prompts, similarity.mean_token, similarity.token_pairs, strict=True):
        cells = (f"{mean:.3f} ({pair:.3f})" for mean, pair in zip(means, pairs, strict=True))
        table.add_row(escape(folder.name), *cells)
    stdout_console.print(table)
