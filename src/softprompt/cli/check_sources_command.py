"""`softprompt prompts check-sources`: finds distilled prompts whose text changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from softprompt.cli.console import print_json, stderr_console, stdout_console
from softprompt.cli.list_printer import print_rows
from softprompt.cli.options import JsonOption
from softprompt.cli.progress_lines import show_activity
from softprompt.cli.registry_options import DEFAULT_STORE, StoreOption, TenantFilterOption

if TYPE_CHECKING:
    from softprompt.registry import PromptRegistry, PromptVersion

EXIT_CHANGED_SOURCES = 2


def check_sources_command(
    tenant: TenantFilterOption = None, location: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Compare distilled prompts that have an alias with the texts they were distilled from. The exit code is 2 if one changed.

    A relative path is looked up in the current folder. A text that changed should be distilled again.
    """
    from softprompt.distillation.source_check import SourceState, check_source
    from softprompt.registry import PromptRegistry

    rows: list[dict[str, str]] = []
    with PromptRegistry.open(location) as registry, show_activity(stderr_console, "checking sources"):
        for version in _iterate_distilled_versions(registry, tenant):
            source = registry.load_prompt(version).manifest.method.get("source", {})
            state = check_source(source)
            rows.append(
                {"tenant": version.tenant, "version": str(version), "path": str(source.get("path")), "state": state}
            )
    if as_json:
        print_json({"sources": rows})
    elif not print_rows(("tenant", "version", "source", "state"), (tuple(row.values()) for row in rows)):
        stdout_console.print("There are no distilled prompts with an alias.")
    if any(row["state"] == SourceState.CHANGED for row in rows):
        raise typer.Exit(EXIT_CHANGED_SOURCES)


def _iterate_distilled_versions(registry: PromptRegistry, tenant: str | None) -> Iterator[PromptVersion]:
    """Yield the versions that have an alias and were distilled."""
    from softprompt.saved.manifest import DISTILLATION_METHOD

    for prompt in registry.iterate_prompts(tenant):
        aliased = set(prompt.aliases.values())
        yield from (v for v in prompt.versions if v.number in aliased and v.method == DISTILLATION_METHOD)
