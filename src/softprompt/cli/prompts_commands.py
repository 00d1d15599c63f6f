"""`softprompt prompts`: manages a prompt registry: versions, aliases, tenants."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.markup import escape

from softprompt.cli.check_sources_command import check_sources_command
from softprompt.cli.console import print_json, stderr_console, stdout_console
from softprompt.cli.list_printer import print_json_list, print_rows
from softprompt.cli.options import JsonOption
from softprompt.cli.progress_lines import show_activity, show_progress
from softprompt.cli.prompt_and_model import load_prompt_and_model
from softprompt.cli.registry_options import (
    DEFAULT_STORE,
    DEFAULT_TENANT,
    ActorOption,
    ArtifactLocationOption,
    StoreOption,
    TenantFilterOption,
    TenantOption,
)
from softprompt.cli.registry_tables import EVENT_COLUMNS, PROMPT_COLUMNS, iter_event_rows, iter_prompt_rows

if TYPE_CHECKING:
    from softprompt.registry import AuditEvent, CorruptArtifact, PromptVersion, RegisteredPrompt
    from softprompt.saved import SavedPrompt

EXIT_CORRUPT_PROMPTS = 2

LimitOption = Annotated[int | None, typer.Option(min=1, help="Maximum number of prompts.  \\[default: all]")]
VersionArgument = Annotated[
    str, typer.Argument(metavar="NAME@VERSION", help="Version or alias, such as reviews@3 or reviews@canary.")
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME[@ALIAS]", help="Prompt or alias, such as reviews or reviews@canary.")
]

app = typer.Typer(name="prompts", no_args_is_help=True, help="Manage a prompt registry: versions, aliases, tenants.")


@app.callback()
def prompts_callback() -> None:
    """Manage a prompt registry: versions, aliases, tenants.

    `reviews` is the active version, `reviews@3` is version 3, `reviews@canary` is the version that the alias `canary` points
    to. Each tenant has its own names.
    """


@app.command("add")
def add_prompt_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    name: Annotated[str, typer.Option(help="Name of the prompt. An existing name gets a new version.")],
    tenant: TenantOption = DEFAULT_TENANT,
    activate: Annotated[
        bool, typer.Option(help="Point the alias `active`, which the bare name means, to this version.")
    ] = True,
    note: Annotated[str, typer.Option(help="Description of this version.", show_default=False)] = "",
    compiler: Annotated[
        str | None,
        typer.Option(
            "--compile",
            metavar="MODEL",
            help="Compile the prompt to a prefix with this base model first, the form that vLLM requires.",
            show_default=False,
        ),
    ] = None,
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    artifact_location: ArtifactLocationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a saved prompt to the registry as the next version of a name, and activate it.

    Creates the registry if necessary. The prompt is validated and copied, so its folder is no longer needed. Identical
    prompts are stored once.
    """
    from softprompt.registry import PromptRegistry

    saved_prompt = prompt if compiler is None else _compile_prompt(prompt, compiler)
    with (
        show_activity(stderr_console, "adding"),
        PromptRegistry.open(location, create=True, artifact_location=artifact_location) as registry,
    ):
        version = registry.register_prompt(saved_prompt, name, tenant=tenant, activate=activate, note=note, actor=actor)
    if as_json:
        print_json({**_version_json(version), "active": activate})
    else:
        stdout_console.print(f"Added [bold]{escape(str(version))}[/]{' and activated it' if activate else ''}.")


@app.command("list")
def list_prompts_command(
    tenant: TenantFilterOption = None,
    limit: LimitOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List all versions in the registry with their aliases, task, base model and actor.

    The list is printed while it is read. More than a hundred versions are printed in plain columns.
    """
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        registered_prompts = itertools.islice(registry.iterate_prompts(tenant), limit)
        if as_json:
            print_json_list("prompts", map(_prompt_json, registered_prompts))
        elif not print_rows(PROMPT_COLUMNS, iter_prompt_rows(registered_prompts)):
            stdout_console.print("There are no prompts.")


@app.command("activate")
def activate_version_command(
    version: VersionArgument,
    alias: Annotated[
        str, typer.Option(help="Alias to point to the version. The bare name means the alias active.")
    ] = "active",
    tenant: TenantOption = DEFAULT_TENANT,
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Point an alias to a version. Running requests finish with the version they started with."""
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        activated = registry.activate_version(version, alias=alias, tenant=tenant, actor=actor)
    _print_version(activated, f"is {alias} now", as_json, alias=alias)


@app.command("deactivate")
def deactivate_alias_command(
    name: NameArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Remove an alias. Requests for it fail until it is activated or rolled back."""
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        deactivated = registry.deactivate_alias(name, tenant=tenant, actor=actor)
    _print_version(deactivated, f"is no longer {_parse_alias(name)}", as_json, alias=_parse_alias(name))


@app.command("rollback")
def rollback_alias_command(
    name: NameArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Point an alias to its previous version. Repeat the command to go further back."""
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        restored = registry.roll_back_alias(name, tenant=tenant, actor=actor)
    _print_version(restored, f"is {_parse_alias(name)} again", as_json, alias=_parse_alias(name))


@app.command("remove")
def remove_version_command(
    version: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@VERSION]", help="Version such as reviews@3, or a name such as reviews for all its versions."
        ),
    ],
    tenant: TenantOption = DEFAULT_TENANT,
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Remove a version, or a prompt with all versions. The command refuses versions with an alias: deactivate them first.

    Version numbers are not reused. `gc` frees the disk space.
    """
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        removed = registry.remove_versions(version, tenant=tenant, actor=actor)
    if as_json:
        print_json({"removed": [_version_json(removed_version) for removed_version in removed]})
    else:
        stdout_console.print(
            f"Removed [bold]{', '.join(escape(str(removed_version)) for removed_version in removed)}[/]."
        )


@app.command("history")
def show_history_command(
    name: Annotated[str | None, typer.Argument(help="Show only events of this prompt.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of events.")] = 50,
    tenant: TenantFilterOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show the audit log, newest event first. More than a hundred events are printed in plain columns."""
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        events = itertools.islice(registry.iterate_events(tenant, name), limit)
        if as_json:
            print_json_list("events", map(_event_json, events))
        elif not print_rows(EVENT_COLUMNS, iter_event_rows(events)):
            stdout_console.print("There are no events.")


@app.command("verify")
def verify_store_command(location: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Read and hash every stored prompt, and list missing and corrupt ones. The exit code is 2 if there are any."""
    from softprompt.registry import PromptRegistry

    with (
        PromptRegistry.open(location) as registry,
        show_progress(stderr_console, "verifying stored prompts") as on_progress,
    ):
        report = registry.verify_integrity(on_progress)
    if as_json:
        print_json(
            {
                "is_intact": report.is_intact,
                "num_referenced": report.num_referenced,
                "corrupt": [_corrupt_artifact_json(artifact) for artifact in report.corrupt_artifacts],
                "num_unreferenced": report.num_unreferenced,
                "database_problem": report.database_problem,
            }
        )
    else:
        for artifact in report.corrupt_artifacts:
            names = escape(_join_version_names(artifact))
            stdout_console.print(f"[bold red]corrupt:[/] {names}: {escape(artifact.problem)}")
        if report.database_problem:
            stdout_console.print(f"[bold red]corrupt:[/] the database: {escape(report.database_problem)}")
        garbage = (
            f"; `softprompt prompts gc` can delete {report.num_unreferenced} more" if report.num_unreferenced else ""
        )
        stdout_console.print(
            f"{report.num_referenced} stored prompts, {len(report.corrupt_artifacts)} of them corrupt{garbage}."
        )
    if not report.is_intact:
        raise typer.Exit(EXIT_CORRUPT_PROMPTS)


app.command("check-sources")(check_sources_command)


@app.command("gc")
def collect_garbage_command(
    grace_period: Annotated[
        int,
        typer.Option(
            min=0, max=1_000_000, help="Minutes since the last use, because running requests may still read a prompt."
        ),
    ] = 60,
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Delete stored prompts that no version refers to, and temporary files of killed processes."""
    from softprompt.registry import PromptRegistry

    with (
        PromptRegistry.open(location) as registry,
        show_progress(stderr_console, "deleting stored prompts") as on_progress,
    ):
        deleted = registry.collect_garbage(timedelta(minutes=grace_period), actor, on_progress)
    if as_json:
        print_json({"deleted": list(deleted.digests), "size_bytes": deleted.size_bytes})
    else:
        stdout_console.print(f"Deleted {len(deleted.digests)} stored prompts, {decimal(deleted.size_bytes)}.")


def _compile_prompt(prompt: Path, model: str) -> SavedPrompt:
    """Compile a saved prompt to a prefix with a base model."""
    saved_prompt, base = load_prompt_and_model(prompt, model, "auto", "auto")
    with show_activity(stderr_console, "compiling"):
        return saved_prompt.to_prefix(base)


def _parse_alias(name: str) -> str:
    return name.partition("@")[2] or "active"


def _print_version(version: PromptVersion, message: str, as_json: bool, **extra: str) -> None:
    if as_json:
        print_json({**_version_json(version), **extra})
    else:
        stdout_console.print(f"[bold]{escape(str(version))}[/] {escape(message)}.")


def _version_json(version: PromptVersion) -> dict[str, Any]:
    return {**vars(version), "created_at": version.created_at.isoformat()}


def _prompt_json(prompt: RegisteredPrompt) -> dict[str, Any]:
    return {**vars(prompt), "versions": [_version_json(version) for version in prompt.versions]}


def _event_json(event: AuditEvent) -> dict[str, Any]:
    return {**vars(event), "timestamp": event.timestamp.isoformat()}


def _corrupt_artifact_json(artifact: CorruptArtifact) -> dict[str, Any]:
    return {**vars(artifact), "versions": [_version_json(version) for version in artifact.versions]}


def _join_version_names(artifact: CorruptArtifact) -> str:
    return ", ".join(f"{version.tenant}/{version}" for version in artifact.versions)
