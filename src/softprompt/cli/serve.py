"""`softprompt serve`: prompts of a store behind OpenAI's API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from softprompt.cli.output import Device, Dtype, notes, people

MIB = 2**20

LIMITS, MACHINE = "Limits", "Machine"


def serve(
    model: Annotated[str, typer.Option(help="The base model: smollm2-135m, a folder, a .gguf file or a Hub id.")],
    store: Annotated[Path, typer.Option(envvar="SOFTPROMPT_STORE", help="The store's folder.")] = Path("store"),
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    keys: Annotated[
        bool, typer.Option("--keys/--no-keys", help="Ask for keys. Without, only this machine is served.")
    ] = True,
    slots: Annotated[int, typer.Option(min=1, help="Responses that are written at once.", rich_help_panel=LIMITS)] = 64,
    length: Annotated[
        int, typer.Option(min=2, help="Tokens of virtual tokens, text and response together.", rich_help_panel=LIMITS)
    ] = 2048,
    waiting: Annotated[
        int, typer.Option(min=1, help="Responses that may wait; beyond, 429.", rich_help_panel=LIMITS)
    ] = 256,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="The longest response.  \\[default: what fits]", rich_help_panel=LIMITS),
    ] = None,
    a_minute: Annotated[
        int | None,
        typer.Option(
            "--rate", min=1, help="A tenant's requests in a minute.  \\[default: any]", rich_help_panel=LIMITS
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--concurrency", min=1, help="A tenant's requests at once.  \\[default: any]", rich_help_panel=LIMITS
        ),
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds for a response.", rich_help_panel=LIMITS)] = 600,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for what runs, when the server is stopped.", rich_help_panel=LIMITS)
    ] = 30,
    tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that go through the model in a step.", rich_help_panel=MACHINE)
    ] = 256,
    prompt_memory: Annotated[
        int, typer.Option(min=1, help="MiB of RAM for prompts that were used lately.", rich_help_panel=MACHINE)
    ] = 512,
    text_memory: Annotated[
        int, typer.Option(min=0, help="MiB of RAM for texts that begin alike.", rich_help_panel=MACHINE)
    ] = 256,
    memory: Annotated[
        int, typer.Option(min=1, help="MiB of RAM for responses being written.", rich_help_panel=MACHINE)
    ] = 2048,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Serve the prompts of a store behind OpenAI's API: `model` in a request names a prompt.

    `reviews` is a tenant's prompt, `reviews@3` its third version, `reviews@canary` what the alias points to, and the base
    model's name the model without a prompt. Ctrl-C or SIGTERM finishes what runs.
    """
    from softprompt.server.serving import Server, listen
    from softprompt.server.settings import ServerSettings
    from softprompt.store import Store

    settings = ServerSettings(
        host=host,
        port=port,
        keys=keys,
        slots=slots,
        length=length,
        tokens=tokens,
        waiting=waiting,
        memory=memory * MIB,
        prompt_memory=prompt_memory * MIB,
        text_memory=text_memory * MIB,
        longest_answer=max_tokens,
        a_minute=a_minute,
        at_once=at_once,
        deadline=deadline,
        grace=grace,
    )
    with Store.open(store) as opened, listen(settings) as listening:
        with notes.status(f"loading {escape(model)}"):
            from softprompt.model import load_model
            from softprompt.server.parts import Parts

            frozen = load_model(model, device=device, dtype=dtype)
            frozen.pack()
            parts = Parts.of(settings, frozen, opened)
        server = Server(parts)
        address, at = listening.getsockname()[:2]
        where = f"http://[{address}]:{at}" if ":" in address else f"http://{address}:{at}"
        people.print(f"Serving {escape(parts.name)} and the prompts of {escape(str(store))} at {where}/v1")
        if keys and not opened.keys.list():
            people.print(
                "Nobody has a key yet: `softprompt keys create --tenant NAME` makes one, even while this runs."
            )
        server.run(sockets=[listening])
