"""Options of the commands that manage a prompt registry."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_STORE = "store"
DEFAULT_TENANT = "default"

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="SOFTPROMPT_STORE",
        help="Location of the prompt registry: a folder, or postgresql://USER@HOST/DATABASE.",
        rich_help_panel="Where",
    ),
]
ArtifactLocationOption = Annotated[
    str | None,
    typer.Option(
        "--artifact-location",
        help="Artifact location of a new registry: a folder or s3://BUCKET/PREFIX.  \\[default: in the registry's folder]",
        show_default=False,
        rich_help_panel="Where",
    ),
]
TenantOption = Annotated[str, typer.Option(help="Tenant of the prompt.", rich_help_panel="Where")]
TenantFilterOption = Annotated[
    str | None, typer.Option(help="List only this tenant.  \\[default: all tenants]", rich_help_panel="Where")
]
ActorOption = Annotated[
    str | None, typer.Option(help="Actor for the audit log.  \\[default: the operating system's user]")
]
