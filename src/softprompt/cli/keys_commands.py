"""`softprompt keys`: manages the API keys of a registry."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from softprompt.cli.console import print_json, stdout_console
from softprompt.cli.list_printer import print_json_list, print_rows
from softprompt.cli.options import JsonOption
from softprompt.cli.registry_options import (
    DEFAULT_STORE,
    DEFAULT_TENANT,
    ActorOption,
    ArtifactLocationOption,
    StoreOption,
    TenantFilterOption,
)
from softprompt.cli.registry_tables import get_key_columns, iter_key_rows

if TYPE_CHECKING:
    from softprompt.registry import ApiKey

app = typer.Typer(name="keys", no_args_is_help=True, help="Create and revoke API keys.")


@app.callback()
def keys_callback() -> None:
    """Create and revoke API keys.

    A key belongs to a tenant. Scope `use`: call the tenant's prompts. Scope `manage`: also change them. Scope `admin`: both
    for every tenant.
    """


@app.command("create")
def create_key_command(
    tenant: Annotated[str, typer.Option(help="Tenant of the key.", rich_help_panel="Where")] = DEFAULT_TENANT,
    scope: Annotated[str, typer.Option(help="Scope: use, manage or admin.")] = "use",
    name: Annotated[str, typer.Option(help="Description of the key.", show_default=False)] = "",
    expires_in: Annotated[
        int | None,
        typer.Option(
            "--expires-in-days",
            min=1,
            max=36_500,
            metavar="DAYS",
            help="Days until the key expires.  \\[default: never]",
        ),
    ] = None,
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    artifact_location: ArtifactLocationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it once. The registry stores only its hash. Creates the registry if necessary."""
    from softprompt.registry import PromptRegistry

    lifetime = None if expires_in is None else timedelta(days=expires_in)
    with PromptRegistry.open(location, create=True, artifact_location=artifact_location) as registry:
        key, text = registry.api_keys.create_key(tenant, scope, name=name, expires_in=lifetime, actor=actor)
    if as_json:
        print_json({"key": text, **_key_json(key)})
    else:
        stdout_console.print(text, markup=False)
        stdout_console.print(
            f"Store this key now: it cannot be shown again. Tenant {escape(key.tenant)}, scope {key.scope}."
        )


@app.command("list")
def list_keys_command(
    tenant: TenantFilterOption = None, location: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """List all keys, including revoked and expired ones. More than a hundred are printed in plain columns."""
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        api_keys = registry.api_keys.iterate_keys(tenant)
        if as_json:
            print_json_list("keys", map(_key_json, api_keys))
        elif not print_rows(get_key_columns(), iter_key_rows(api_keys)):
            stdout_console.print("There are no keys.")


@app.command("revoke")
def revoke_key_command(
    key: Annotated[str, typer.Argument(metavar="ID", help="Id of the key: the part between the dashes.")],
    actor: ActorOption = None,
    location: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key permanently. A running server rejects it after one second at most."""
    from softprompt.registry import PromptRegistry

    with PromptRegistry.open(location) as registry:
        revoked = registry.api_keys.revoke_key(key, actor=actor)
    if as_json:
        print_json(_key_json(revoked))
    else:
        stdout_console.print(f"Revoked [bold]{escape(revoked.id)}[/] of tenant {escape(revoked.tenant)}.")


def _key_json(key: ApiKey) -> dict[str, Any]:
    times = {"created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at}
    return {**asdict(key), **{name: time and time.isoformat() for name, time in times.items()}, "valid": key.is_valid()}
