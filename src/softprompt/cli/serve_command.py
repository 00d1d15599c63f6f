"""`softprompt serve`: serves the prompts of a registry behind the OpenAI API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from softprompt.cli.console import stderr_console, stdout_console
from softprompt.cli.options import DeviceOption, DtypeOption
from softprompt.cli.progress_lines import show_activity
from softprompt.cli.sigterm_handler import exit_on_sigterm
from softprompt.errors import SettingError
from softprompt.thread_wait_policy import SHORT_SPIN_ENV, set_thread_wait_policy

if TYPE_CHECKING:
    from softprompt.registry import PromptRegistry
    from softprompt.server.app_state import AppState
    from softprompt.server.server_config import ServerConfig

MIB = 2**20

LIMITS_PANEL, MACHINE_PANEL, VLLM_PANEL = "Limits", "Machine", "vLLM"


class BackendName(StrEnum):
    """The backend that runs the model."""

    ENGINE = "engine"
    VLLM = "vllm"


def serve_command(
    model: Annotated[str, typer.Option(help="Base model: smollm2-135m, a folder, a .gguf file or a Hub id.")],
    location: Annotated[
        str,
        typer.Option(
            "--store",
            envvar="SOFTPROMPT_STORE",
            help="Location of the prompt registry: a folder, or postgresql://USER@HOST/DATABASE.",
        ),
    ] = "store",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free port.")] = 8000,
    auth_enabled: Annotated[
        bool, typer.Option("--auth/--no-auth", help="Require API keys. --no-auth serves only this machine.")
    ] = True,
    max_num_seqs: Annotated[
        int,
        typer.Option(
            min=1, help="Maximum number of sequences that are generated together.", rich_help_panel=LIMITS_PANEL
        ),
    ] = 64,
    max_model_len: Annotated[
        int,
        typer.Option(
            min=2,
            help="Maximum length of a sequence in tokens: virtual tokens, text and response.",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = 2048,
    max_waiting_requests: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum number of waiting requests. Further requests get status 429.",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = 256,
    max_completion_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum length of a response, in tokens.  \\[default: the rest of the context window]",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    sequences_per_minute: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of sequences per minute and tenant in this process.  \\[default: unlimited]",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    max_parallel_sequences: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of parallel sequences per tenant in this process.  \\[default: unlimited]",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    request_timeout: Annotated[
        float, typer.Option(min=0.1, help="Maximum duration of a request, in seconds.", rich_help_panel=LIMITS_PANEL)
    ] = 600,
    shutdown_timeout: Annotated[
        float,
        typer.Option(min=0, help="Time for running requests at shutdown, in seconds.", rich_help_panel=LIMITS_PANEL),
    ] = 30,
    max_num_batched_tokens: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum number of tokens per step while a sequence decodes; twice as many otherwise.",
            rich_help_panel=MACHINE_PANEL,
        ),
    ] = 256,
    prompt_cache_mib: Annotated[
        int, typer.Option(min=1, help="Size of the prompt cache, in MiB of RAM.", rich_help_panel=MACHINE_PANEL)
    ] = 512,
    prefix_cache_mib: Annotated[
        int, typer.Option(min=0, help="Size of the prefix cache, in MiB of RAM.", rich_help_panel=MACHINE_PANEL)
    ] = 256,
    kv_cache_mib: Annotated[
        int,
        typer.Option(
            min=1, help="Size of the KV cache of running sequences, in MiB of RAM.", rich_help_panel=MACHINE_PANEL
        ),
    ] = 2048,
    num_threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of the model.  \\[default: one per core]", rich_help_panel=MACHINE_PANEL),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    backend: Annotated[
        BackendName,
        typer.Option(help="What runs the model: engine (in this process) or vllm.", rich_help_panel=VLLM_PANEL),
    ] = BackendName.ENGINE,
    replica: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="URL of a vLLM server with softprompt's plugin. Repeatable.  \\[default: start a local server]",
            rich_help_panel=VLLM_PANEL,
            show_default=False,
        ),
    ] = None,
    vllm_command: Annotated[
        str, typer.Option(help="Command of the local vLLM server.", rich_help_panel=VLLM_PANEL)
    ] = "vllm",
) -> None:
    """Serve the prompts of a registry behind the OpenAI API. `model` in a request names a prompt.

    `reviews` is the active version of a tenant's prompt, `reviews@3` is version 3, and `reviews@canary` is the version of an
    alias. The name of the base model selects the model without a prompt. Ctrl-C or SIGTERM finishes running requests.

    Limits apply per process: with several gateways a tenant can use each limit several times.
    """
    set_thread_wait_policy(SHORT_SPIN_ENV)
    from softprompt.registry import PromptRegistry
    from softprompt.server.runtime.api_server import ApiServer, bind_socket
    from softprompt.server.server_config import ServerConfig

    config = ServerConfig(
        host=host,
        port=port,
        auth_enabled=auth_enabled,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        max_num_batched_tokens=max_num_batched_tokens,
        max_waiting_requests=max_waiting_requests,
        kv_cache_bytes=kv_cache_mib * MIB,
        prompt_cache_bytes=prompt_cache_mib * MIB,
        prefix_cache_bytes=prefix_cache_mib * MIB,
        num_threads=num_threads,
        max_completion_tokens=max_completion_tokens,
        sequences_per_minute=sequences_per_minute,
        max_parallel_sequences=max_parallel_sequences,
        request_timeout=request_timeout,
        shutdown_timeout=shutdown_timeout,
    )
    if replica and backend is not BackendName.VLLM:
        raise SettingError("--replica requires --backend vllm: pass both options")
    with PromptRegistry.open(location) as registry, bind_socket(config) as server_socket, ExitStack() as stack:
        with exit_on_sigterm("while starting"):
            if backend is BackendName.VLLM:
                state_context = _open_vllm_state(config, registry, model, dtype, replica or [], vllm_command)
            else:
                state_context = _open_engine_state(config, registry, model, device, dtype)
            state = stack.enter_context(state_context)
            server = ApiServer(state)
        bound_host, bound_port = server_socket.getsockname()[:2]
        url = f"http://[{bound_host}]:{bound_port}" if ":" in bound_host else f"http://{bound_host}:{bound_port}"
        stdout_console.print(
            f"Serving {escape(state.served_model_name)} and the prompts of {escape(registry.location)} at {url}/v1"
        )
        if auth_enabled and not registry.api_keys.has_keys():
            stdout_console.print(
                "The registry has no API key yet. Create one, even while the server runs: "
                "`softprompt keys create --tenant NAME`"
            )
        server.run(sockets=[server_socket])


@contextmanager
def _open_engine_state(
    config: ServerConfig, registry: PromptRegistry, model: str, device: str, dtype: str
) -> Iterator[AppState]:
    """Open the state of a server with the engine in this process."""
    with show_activity(stderr_console, f"loading {model}"):
        from softprompt.model import load_model
        from softprompt.server.app_state import AppState
        from softprompt.server.runtime.torch_process import configure_process

        num_cores = configure_process()
        frozen_model = load_model(model, device=device, dtype=dtype)
        frozen_model.pack_weights()
        config = replace(config, num_threads=config.num_threads or num_cores)
        state = AppState.from_config(config, frozen_model, registry)
    yield state


@contextmanager
def _open_vllm_state(
    config: ServerConfig, registry: PromptRegistry, model: str, dtype: str, replica_urls: list[str], vllm_command: str
) -> Iterator[AppState]:
    """Open the state of a gateway: in front of running vLLM servers, or of a local one that it starts."""
    from softprompt.server.backends.vllm.local_vllm_server import find_interpreter

    python = None if replica_urls else find_interpreter(vllm_command)
    with show_activity(stderr_console, f"reading {model}"):
        from softprompt.model import load_meta_model
        from softprompt.server.app_state import AppState
        from softprompt.server.backends.vllm import VllmBackend, local_vllm_server
        from softprompt.server.backends.vllm.local_server_supervisor import LocalServerSupervisor

        base = load_meta_model(model)
    if python is None:
        yield AppState.from_config(config, base, registry, VllmBackend.create_factory(replica_urls))
        return
    with local_vllm_server.build_server(python, config, base, registry.artifact_location, dtype) as replica:
        with show_activity(stderr_console, f"starting vLLM, which takes minutes; its log is {replica.log_file}"):
            replica.wait_until_ready()
        with LocalServerSupervisor(replica) as supervisor:
            yield AppState.from_config(
                config, base, registry, VllmBackend.create_factory([replica.url], lambda: supervisor.is_alive)
            )
