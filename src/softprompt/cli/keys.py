"""`softprompt keys`: who may ask a server that stands on a store."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from softprompt.cli.keys_table import key_rows, key_titles
from softprompt.cli.listing import print_json_list, print_rows
from softprompt.cli.output import Json, people, print_json
from softprompt.cli.prompts import OURS, STORE, AnyTenant, By, Place, PromptsAt

if TYPE_CHECKING:
    from softprompt.store import Key

app = typer.Typer(name="keys", no_args_is_help=True, help="Make and revoke the keys that a server takes.")


@app.callback()
def keys() -> None:
    """Make and revoke the keys that a server takes.

    A key belongs to a tenant. With `use` it asks the tenant's prompts, with `manage` it changes them as well, with
    `admin` it does both for every tenant.
    """


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is.", rich_help_panel="Where")] = OURS,
    scope: Annotated[str, typer.Option(help="What it is good for: use, manage or admin.")] = "use",
    name: Annotated[str, typer.Option(help="What it is for, in words.", show_default=False)] = "",
    expires_in: Annotated[
        int | None,
        typer.Option(
            "--expires", min=1, max=36_500, metavar="DAYS", help="How long it is valid.  \\[default: for ever]"
        ),
    ] = None,
    by: By = None,
    place: Place = STORE,
    prompts: PromptsAt = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once: the store keeps a hash of it. Makes the store if need be."""
    from softprompt.store import Store

    life = None if expires_in is None else timedelta(days=expires_in)
    with Store.open(place, create=True, prompts=prompts) as opened:
        key, text = opened.keys.create(tenant, scope, name=name, expires_in=life, by=by)
    if as_json:
        print_json({"key": text, **_facts(key)})
    else:
        people.print(text, markup=False)
        people.print(f"Keep it: nobody can show it again. It is {escape(key.tenant)}'s, to {key.scope}.")


@app.command("list")
def list_(tenant: AnyTenant = None, place: Place = STORE, as_json: Json = False) -> None:
    """List the keys, those that were revoked or have expired too. More than a hundred are printed in plain columns."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.keys.iterate_all(tenant)
        if as_json:
            print_json_list("keys", map(_facts, found))
        elif not print_rows(key_titles(), key_rows(found)):
            people.print("There are no keys.")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="What names the key: the part between the dashes.")],
    by: By = None,
    place: Place = STORE,
    as_json: Json = False,
) -> None:
    """Make a key none, for ever. A server that runs takes it for a second more at most."""
    from softprompt.store import Store

    with Store.open(place) as opened:
        found = opened.keys.revoke(key, by=by)
    if as_json:
        print_json(_facts(found))
    else:
        people.print(f"Revoked [bold]{escape(found.id)}[/], which was {escape(found.tenant)}'s.")


def _facts(key: Key) -> dict[str, Any]:
    times = {"created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at}
    return {**asdict(key), **{name: time and time.isoformat() for name, time in times.items()}, "valid": key.is_valid()}
