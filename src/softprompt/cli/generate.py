"""`softprompt generate`: a response, as it is written."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from softprompt.cli.output import BaseModel, Device, Dtype, Json, print_json
from softprompt.unicode_text import escape_controls
from softprompt.wait_policy import SHORT_SPIN, choose_wait_policy

SAMPLING = "Sampling"


def generate(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    text: Annotated[
        str, typer.Option("--prompt", help="The text that fills the template's field, or that the user says in a chat.")
    ],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="The longest response, in tokens.", rich_help_panel=SAMPLING)
    ] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, help="0: always the most probable token.", rich_help_panel=SAMPLING)
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Draw from the fewest tokens with this much probability.", rich_help_panel=SAMPLING
        ),
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from this many; 0 for all.", rich_help_panel=SAMPLING)] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.", rich_help_panel=SAMPLING)] = 0,
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Write the response to a text, piece by piece as it comes."""
    choose_wait_policy(SHORT_SPIN)
    from softprompt.cli.loading import load
    from softprompt.evaluation import Sampling, respond

    saved, base = load(prompt, model, device, dtype)
    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, seed)
    pieces = stripped(respond(base, saved, text, sampling))
    if as_json:
        print_json({"prompt": text, "response": "".join(pieces)})
        return
    for piece in pieces:
        sys.stdout.write(escape_controls(piece))
        sys.stdout.flush()
    sys.stdout.write("\n")


def stripped(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces without white space around the whole."""
    from softprompt.evaluation.responding import Trimmed

    trimmed = Trimmed()
    return filter(None, map(trimmed.add, pieces))
