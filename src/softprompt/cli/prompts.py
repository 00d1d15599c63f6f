"""`softprompt prompts`: a store of prompts, their versions, and which of them is in use."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.markup import escape

from softprompt.cli.listing import print_json_list, print_rows
from softprompt.cli.loading import load
from softprompt.cli.output import Json, notes, people, print_json
from softprompt.cli.progress_lines import busy, tracked
from softprompt.cli.prompts_tables import EVENT_TITLES, PROMPT_TITLES, event_rows, prompt_rows

if TYPE_CHECKING:
    from softprompt.saved import SavedPrompt
    from softprompt.store import Damage, Event, StoredPrompt, Version
    from softprompt.store.folders import Kept

DAMAGED = 2  # the exit code

Place = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="SOFTPROMPT_STORE",
        help="The store: a folder, or postgresql://USER@HOST/DATABASE.",
        rich_help_panel="Where",
    ),
]
PromptsAt = Annotated[
    str | None,
    typer.Option(
        "--prompts-at",
        help="Where a store that is made keeps its prompts: a folder or s3://BUCKET/PREFIX.  \\[default: in its folder]",
        show_default=False,
        rich_help_panel="Where",
    ),
]
Tenant = Annotated[str, typer.Option(help="Whose prompt it is.", rich_help_panel="Where")]
AnyTenant = Annotated[
    str | None, typer.Option(help="Only this tenant's.  \\[default: everybody's]", rich_help_panel="Where")
]
Most = Annotated[int | None, typer.Option(min=1, help="How many prompts at most.  \\[default: all]")]
By = Annotated[str | None, typer.Option(help="Who does it, for the history.  \\[default: the operating system's user]")]
VersionOrAlias = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="Such as reviews@3, or reviews@canary.")]
NameOrAlias = Annotated[str, typer.Argument(metavar="NAME[@ALIAS]", help="Such as reviews, or reviews@canary.")]

STORE = "store"
OURS = "default"

app = typer.Typer(name="prompts", no_args_is_help=True, help="Keep prompts in a store: versions, aliases, tenants.")


@app.callback()
def prompts() -> None:
    """Keep prompts in a store: versions, aliases, tenants.

    A name such as `reviews` means its active version, `reviews@3` the third, `reviews@canary` the one that the alias
    points to. Each tenant has names of its own.
    """


@app.command()
def add(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    name: Annotated[str, typer.Option(help="What it is called. A name that is there gets a new version.")],
    tenant: Tenant = OURS,
    activate: Annotated[bool, typer.Option(help="The bare name means this version from now on.")] = True,
    note: Annotated[str, typer.Option(help="What there is to say about this version.", show_default=False)] = "",
    compiler: Annotated[
        str | None,
        typer.Option(
            "--compile",
            metavar="MODEL",
            help="Store it as the prefix that this base model makes of it, which is what vLLM takes.",
            show_default=False,
        ),
    ] = None,
    by: By = None,
    place: Place = STORE,
    prompts: PromptsAt = None,
    as_json: Json = False,
) -> None:
    """Add a saved prompt to the store as the next version of a name, and activate it. Makes the store if need be.

    The prompt is checked first, and copied: its folder is not needed any more. What is the same is stored once.
    """
    from softprompt.store import Store

    saved = prompt if compiler is None else _compiled(prompt, compiler)
    with busy(notes, "adding"), Store.open(place, create=True, prompts=prompts) as opened:
        version = opened.add(saved, name, tenant=tenant, activate=activate, note=note, by=by)
    if as_json:
        print_json({**_facts(version), "active": activate})
    else:
        people.print(f"Added [bold]{escape(str(version))}[/]{', which is active now' if activate else ''}.")


@app.command("list")
def list_(tenant: AnyTenant = None, limit: Most = None, place: Place = STORE, as_json: Json = False) -> None:
    """List what is in the store: every version with its aliases, its task, its base model, and who added it.

    It is printed while it is read. More than a hundred versions are printed in plain columns.
    """
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = itertools.islice(opened.iterate_prompts(tenant), limit)
        if as_json:
            print_json_list("prompts", map(_prompt_facts, found))
        elif not print_rows(PROMPT_TITLES, prompt_rows(found)):
            people.print("There are no prompts.")


@app.command()
def activate(
    version: VersionOrAlias,
    alias: Annotated[str, typer.Option(help="The alias to point to it; active is what a bare name means.")] = "active",
    tenant: Tenant = OURS,
    by: By = None,
    place: Place = STORE,
    as_json: Json = False,
) -> None:
    """Point a name, or another alias of it, to a version. What has begun ends on the version that it began with."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.activate(version, alias=alias, tenant=tenant, by=by)
    _say(found, f"is {alias} now", as_json, alias=alias)


@app.command()
def deactivate(
    name: NameOrAlias, tenant: Tenant = OURS, by: By = None, place: Place = STORE, as_json: Json = False
) -> None:
    """Point a name, or another alias of it, to nothing: nobody finds it until it is activated or rolled back."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.deactivate(name, tenant=tenant, by=by)
    _say(found, f"is {_alias(name)} no more", as_json, alias=_alias(name))


@app.command()
def rollback(
    name: NameOrAlias, tenant: Tenant = OURS, by: By = None, place: Place = STORE, as_json: Json = False
) -> None:
    """Point a name, or another alias of it, to the version that it pointed to before. Again goes further back."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.roll_back(name, tenant=tenant, by=by)
    _say(found, f"is {_alias(name)} again", as_json, alias=_alias(name))


@app.command()
def remove(
    version: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="Such as reviews@3; reviews alone means all its versions.")
    ],
    tenant: Tenant = OURS,
    by: By = None,
    place: Place = STORE,
    as_json: Json = False,
) -> None:
    """Remove a version, or a prompt with all of them. What an alias points to is not removed: deactivate it first.

    The number is not given again. `collect` frees the disk.
    """
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.remove(version, tenant=tenant, by=by)
    if as_json:
        print_json({"removed": [_facts(each) for each in found]})
    else:
        people.print(f"Removed [bold]{', '.join(escape(str(each)) for each in found)}[/].")


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="Only this prompt's.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many events at most.")] = 50,
    tenant: AnyTenant = None,
    place: Place = STORE,
    as_json: Json = False,
) -> None:
    """Show who did what, and when. The newest stands first. More than a hundred are printed in plain columns."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = itertools.islice(opened.iterate_history(tenant, name), limit)
        if as_json:
            print_json_list("events", map(_event_facts, found))
        elif not print_rows(EVENT_TITLES, event_rows(found)):
            people.print("Nothing was done.")


@app.command()
def verify(place: Place = STORE, as_json: Json = False) -> None:
    """Read and hash every stored prompt, and name those that are missing or damaged: then the exit code is 2."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.verify(_tracked)
    if as_json:
        damaged = [_damage_facts(damage) for damage in found.damages]
        facts = {"checked": found.contents, "damaged": damaged, "unneeded": found.unneeded, "database": found.database}
        print_json({"whole": found.whole, **facts})
    else:
        for damage in found.damages:
            people.print(f"[bold red]damaged:[/] {escape(_named(damage))}: {escape(damage.problem)}")
        if found.database:
            people.print(f"[bold red]damaged:[/] the database: {escape(found.database)}")
        unneeded = f"; `softprompt prompts collect` can delete {found.unneeded} more" if found.unneeded else ""
        people.print(f"{found.contents} stored prompts, {len(found.damages)} of them damaged{unneeded}.")
    if not found.whole:
        raise typer.Exit(DAMAGED)


@app.command()
def collect(
    grace: Annotated[
        int,
        typer.Option(min=0, max=1_000_000, help="Minutes that nobody must have needed them: requests may still read."),
    ] = 60,
    by: By = None,
    place: Place = STORE,
    as_json: Json = False,
) -> None:
    """Delete from the disk what no version needs any more, and what killed processes left."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.collect(timedelta(minutes=grace), by, _tracked_deletion)
    if as_json:
        print_json({"deleted": list(found.contents), "size": found.size})
    else:
        people.print(f"Deleted {len(found.contents)} stored prompts, {decimal(found.size)}.")


def _compiled(prompt: Path, model: str) -> SavedPrompt:
    """A saved prompt as the prefix that its base model makes of it."""
    saved, base = load(prompt, model, "auto", "auto")
    with busy(notes, "compiling"):
        return saved.compiled(base)


def _alias(name: str) -> str:
    return name.partition("@")[2] or "active"


def _say(version: Version, what: str, as_json: bool, **more: str) -> None:
    if as_json:
        print_json({**_facts(version), **more})
    else:
        people.print(f"[bold]{escape(str(version))}[/] {escape(what)}.")


def _tracked(contents: Sequence[str]) -> Iterable[str]:
    return tracked(notes, contents, "verifying stored prompts", len(contents))


def _tracked_deletion(folders: Sequence[Kept]) -> Iterable[Kept]:
    return tracked(notes, folders, "deleting stored prompts", len(folders))


def _facts(version: Version) -> dict[str, Any]:
    return {**vars(version), "created_at": version.created_at.isoformat()}


def _prompt_facts(prompt: StoredPrompt) -> dict[str, Any]:
    return {**vars(prompt), "versions": [_facts(version) for version in prompt.versions]}


def _event_facts(event: Event) -> dict[str, Any]:
    return {**vars(event), "at": event.at.isoformat()}


def _damage_facts(damage: Damage) -> dict[str, Any]:
    return {**vars(damage), "versions": [_facts(version) for version in damage.versions]}


def _named(damage: Damage) -> str:
    return ", ".join(f"{version.tenant}'s {version}" for version in damage.versions)
