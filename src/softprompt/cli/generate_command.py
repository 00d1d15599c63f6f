"""`softprompt generate`: streams a response."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from softprompt.cli.console import print_json
from softprompt.cli.options import BaseModelOption, DeviceOption, DtypeOption, JsonOption
from softprompt.thread_wait_policy import SHORT_SPIN_ENV, set_thread_wait_policy
from softprompt.unicode_text import escape_controls

SAMPLING_PANEL = "Sampling"


def generate_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    text: Annotated[
        str, typer.Option("--prompt", help="Value of the template's field, or the user message in a chat.")
    ],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Maximum length of the response, in tokens.", rich_help_panel=SAMPLING_PANEL)
    ] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling temperature; 0 for greedy decoding.", rich_help_panel=SAMPLING_PANEL)
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1,
            help="Sample from the smallest set of tokens with this total probability.",
            rich_help_panel=SAMPLING_PANEL,
        ),
    ] = 1.0,
    top_k: Annotated[
        int,
        typer.Option(min=0, help="Sample from the k most probable tokens; 0 for all.", rich_help_panel=SAMPLING_PANEL),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the sampling.", rich_help_panel=SAMPLING_PANEL)] = 0,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Generate the response to a text, and stream it."""
    set_thread_wait_policy(SHORT_SPIN_ENV)
    from softprompt.cli.prompt_and_model import load_prompt_and_model
    from softprompt.evaluation import respond
    from softprompt.sampling import SamplingParams

    saved, base = load_prompt_and_model(prompt, model, device, dtype)
    sampling = SamplingParams(max_new_tokens, temperature, top_p, top_k, seed=seed)
    chunks = strip_stream(respond(base, saved, text, sampling))
    if as_json:
        print_json({"prompt": text, "response": "".join(chunks)})
        return
    for chunk in chunks:
        sys.stdout.write(escape_controls(chunk))
        sys.stdout.flush()
    sys.stdout.write("\n")


def strip_stream(chunks: Iterable[str]) -> Iterator[str]:
    """Strip white space from both ends of a stream of text chunks."""
    from softprompt.evaluation.respond import StreamingTrimmer

    trimmer = StreamingTrimmer()
    return filter(None, map(trimmer.push_text, chunks))
