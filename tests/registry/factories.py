"""Prompts to register, and checks of invariants that every registry must satisfy."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from softprompt.registry import AuditEvent, PromptRegistry, PromptVersion
from softprompt.registry.artifact_store import OWNER_FILE
from softprompt.saved import SavedPrompt
from tests.saved.factories import make
from tests.strategies import random_embeddings
from tests.tiny import shared_model

AT_ONCE = timedelta(0)


def several(count: int) -> list[SavedPrompt]:
    """Make `count` different prompts for one base model."""
    return [make(random_embeddings(shared_model("llama"), 3, seed=seed)) for seed in range(count)]


def folder_of(store: PromptRegistry, version: PromptVersion) -> Path:
    """Return the folder of a version's artifact, in a registry with artifacts on disk."""
    return Path(store.artifact_location) / version.digest


def stored(store: PromptRegistry) -> list[str]:
    """List the digests of all stored artifacts and temporary files; the owner file and `gone` are left out."""
    files, root = url_to_fs(store.artifact_location, use_listings_cache=False)
    names = {Path(path).name for path in files.find(root, withdirs=True, maxdepth=1) if path != root}
    return sorted(name.removesuffix(".zip") for name in names - {"gone", OWNER_FILE})


def check_whole(store: PromptRegistry) -> None:
    """Check that no artifact is damaged, every version can be loaded, and the audit log gives the same state."""
    report = store.verify_integrity()
    assert report.is_intact, report
    prompts = store.list_prompts()
    for prompt in prompts:
        for version in prompt.versions:
            assert store.resolve_version(str(version), tenant=prompt.tenant) == version
            assert store.load_prompt(version).manifest.content_hash == f"sha256:{version.digest}"
        for alias, number in prompt.aliases.items():
            assert store.resolve_version(f"{prompt.name}@{alias}", tenant=prompt.tenant).number == number
    check_sums(store)
    assert {(p.tenant, p.name): ({v.number for v in p.versions}, p.aliases) for p in prompts} == told(
        store.list_events()
    )


def check_sums(store: PromptRegistry) -> None:
    """Check that the stored sums and aliases equal those computed from versions and activations."""
    prompts = store.list_prompts()
    for tenant in {prompt.tenant for prompt in prompts}:
        of_tenant = [prompt for prompt in prompts if prompt.tenant == tenant]
        size = sum(version.size_bytes for prompt in of_tenant for version in prompt.versions)
        assert store.get_tenant_size(tenant) == size
        aliases = store.get_aliases_page(tenant, limit=99).items
        numbers = {(alias.name, alias.alias): alias.version.number for alias in aliases}
        assert numbers == {(p.name, alias): number for p in of_tenant for alias, number in p.aliases.items()}
    assert all(prompt.num_versions == len(prompt.versions) > 0 for prompt in prompts)


def told(history: Sequence[AuditEvent]) -> dict[tuple[Any, Any], tuple[set[int], dict[str, int]]]:
    """Reconstruct the versions and aliases of each prompt from the audit log."""
    versions: defaultdict[tuple[Any, Any], set[Any]] = defaultdict(set)
    aliases: defaultdict[tuple[Any, Any], dict[str, Any]] = defaultdict(dict)
    for event in reversed(history):
        owner = event.tenant, event.prompt
        match event.action:
            case "add":
                versions[owner].add(event.version)
            case "remove":
                versions[owner].remove(event.version)
            case "activate" | "rollback":
                aliases[owner][event.details["alias"]] = event.version
            case "deactivate":
                del aliases[owner][event.details["alias"]]
    return {owner: (numbers, aliases[owner]) for owner, numbers in versions.items() if numbers}


def check_nothing_left_over(store: PromptRegistry) -> None:
    """Check that garbage collection leaves only artifacts of versions; temporary files are made old first."""
    for temporary in Path(store.artifact_location).glob(".*"):
        os.utime(temporary, (0, 0))
    store.collect_garbage(AT_ONCE)
    needed = {version.digest for prompt in store.list_prompts() for version in prompt.versions}
    assert stored(store) == sorted(needed)
