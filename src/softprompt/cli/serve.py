"""`softprompt serve`: prompts of a store behind OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from softprompt.cli.output import Device, Dtype, notes, people
from softprompt.cli.progress_lines import busy
from softprompt.cli.termination import terminable
from softprompt.errors import SettingError
from softprompt.wait_policy import SHORT_SPIN, choose_wait_policy

if TYPE_CHECKING:
    from softprompt.server.parts import Parts
    from softprompt.server.settings import ServerSettings
    from softprompt.store import Store

MIB = 2**20

LIMITS, MACHINE, VLLM = "Limits", "Machine", "vLLM"


class Runner(StrEnum):
    """Who runs the model."""

    EMBEDDED = "embedded"
    VLLM = "vllm"


def serve(
    model: Annotated[str, typer.Option(help="The base model: smollm2-135m, a folder, a .gguf file or a Hub id.")],
    place: Annotated[
        str,
        typer.Option(
            "--store", envvar="SOFTPROMPT_STORE", help="The store: a folder, or postgresql://USER@HOST/DATABASE."
        ),
    ] = "store",
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
        int,
        typer.Option(min=1, help="Responses, and classifications, that may wait; beyond, 429.", rich_help_panel=LIMITS),
    ] = 256,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="The longest response.  \\[default: what fits]", rich_help_panel=LIMITS),
    ] = None,
    a_minute: Annotated[
        int | None,
        typer.Option(
            "--rate",
            min=1,
            help="A tenant's responses, and texts to classify, in a minute, counted by this process.  \\[default: any]",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            min=1,
            help="A tenant's responses, and texts to classify, at once, counted by this process.  \\[default: any]",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds for a response.", rich_help_panel=LIMITS)] = 600,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for what runs, when the server is stopped.", rich_help_panel=LIMITS)
    ] = 30,
    tokens: Annotated[
        int,
        typer.Option(
            min=1,
            help="Tokens that go through the model in a step, if a row writes; else twice as many.",
            rich_help_panel=MACHINE,
        ),
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
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads that run the model.  \\[default: one for each core]", rich_help_panel=MACHINE
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Annotated[
        Runner, typer.Option(help="Who runs the model: the engine in this process, or vLLM.", rich_help_panel=VLLM)
    ] = Runner.EMBEDDED,
    replica: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A vLLM server with softprompt's plugin. Repeatable; without, one is started.",
            rich_help_panel=VLLM,
            show_default=False,
        ),
    ] = None,
    vllm: Annotated[str, typer.Option(help="The vllm to start.", rich_help_panel=VLLM)] = "vllm",
) -> None:
    """Serve the prompts of a store behind OpenAI's API: `model` in a request names a prompt.

    `reviews` is a tenant's prompt, `reviews@3` its third version, `reviews@canary` what the alias points to, and the base
    model's name the model without a prompt. Ctrl-C or SIGTERM finishes what runs.

    Limits hold for this process alone: behind several gateways a tenant has each of them as many times.
    """
    choose_wait_policy(SHORT_SPIN)
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
        threads=threads,
        longest_answer=max_tokens,
        a_minute=a_minute,
        at_once=at_once,
        deadline=deadline,
        grace=grace,
    )
    if replica and backend is not Runner.VLLM:
        raise SettingError("--replica is for --backend vllm: say that, too")
    with Store.open(place) as opened, listen(settings) as listening, ExitStack() as stack:
        with terminable("while starting"):
            if backend is Runner.VLLM:
                made = _fronting(settings, opened, model, dtype, replica or [], vllm)
            else:
                made = _embedded(settings, opened, model, device, dtype)
            parts = stack.enter_context(made)
            server = Server(parts)
        address, at = listening.getsockname()[:2]
        where = f"http://[{address}]:{at}" if ":" in address else f"http://{address}:{at}"
        people.print(f"Serving {escape(parts.name)} and the prompts of {escape(opened.place)} at {where}/v1")
        if keys and not opened.keys.has_any():
            people.print(
                "Nobody has a key yet: `softprompt keys create --tenant NAME` makes one, even while this runs."
            )
        server.run(sockets=[listening])


@contextmanager
def _embedded(settings: ServerSettings, store: Store, model: str, device: str, dtype: str) -> Iterator[Parts]:
    """A server whose engine is in this process."""
    with busy(notes, f"loading {model}"):
        from softprompt.model import load_model
        from softprompt.server.parts import Parts
        from softprompt.server.process import prepare

        every = prepare()
        frozen = load_model(model, device=device, dtype=dtype)
        frozen.pack()
        parts = Parts.of(replace(settings, threads=settings.threads or every), frozen, store)
    yield parts


@contextmanager
def _fronting(
    settings: ServerSettings, store: Store, model: str, dtype: str, replicas: list[str], program: str
) -> Iterator[Parts]:
    """A server without weights, in front of vLLM servers, or of one that it starts."""
    from softprompt.server.gateway.own import interpreter

    python = None if replicas else interpreter(program)
    with busy(notes, f"reading {model}"):
        from softprompt.model import load_weightless
        from softprompt.server.gateway import Remote, own
        from softprompt.server.parts import Parts

        base = load_weightless(model)
    if python is None:
        yield Parts.of(settings, base, store, Remote.at(replicas))
        return
    with own.started(python, settings, base, store.prompts_at, dtype) as replica:
        with busy(notes, f"starting vLLM, which takes a while: {replica.log}"):
            replica.wait()
        yield Parts.of(settings, base, store, Remote.at([replica.url], lambda: replica.is_running))
