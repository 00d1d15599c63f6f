"""Prompts to store, and what must hold of a store whatever happened to it."""

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
    """As many prompts for one base model, each another content."""
    return [make(random_embeddings(shared_model("llama"), 3, seed=seed)) for seed in range(count)]


def folder_of(store: PromptRegistry, version: PromptVersion) -> Path:
    """Where a version's prompt is, in a store whose prompts lie on the disk."""
    return Path(store.artifact_location) / version.digest


def stored(store: PromptRegistry) -> list[str]:
    """All that lies where the store's prompts do, hidden things too; the file that says whose they are apart."""
    files, root = url_to_fs(store.artifact_location, use_listings_cache=False)
    found = {Path(each).name for each in files.find(root, withdirs=True, maxdepth=1) if each != root}
    return sorted(name.removesuffix(".zip") for name in found - {"gone", OWNER_FILE})


def check_whole(store: PromptRegistry) -> None:
    """Nothing is damaged, whatever has a name can be read, and the store is what its history tells."""
    found = store.verify_integrity()
    assert found.is_intact, found
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
    """What is kept of versions and activations beside them is what follows from them."""
    prompts = store.list_prompts()
    for tenant in {prompt.tenant for prompt in prompts}:
        own = [prompt for prompt in prompts if prompt.tenant == tenant]
        assert store.get_tenant_size(tenant) == sum(version.size_bytes for prompt in own for version in prompt.versions)
        pointing = {
            (each.name, each.alias): each.version.number for each in store.get_aliases_page(tenant, limit=99).items
        }
        assert pointing == {(p.name, alias): number for p in own for alias, number in p.aliases.items()}
    assert all(prompt.num_versions == len(prompt.versions) > 0 for prompt in prompts)


def told(history: Sequence[AuditEvent]) -> dict[tuple[Any, Any], tuple[set[int], dict[str, int]]]:
    """The versions and aliases of each prompt, as a history tells of them."""
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
    """Once it is collected, there is what versions need and nothing else; what was being written is long given up."""
    for each in Path(store.artifact_location).glob(".*"):
        os.utime(each, (0, 0))
    store.collect_garbage(AT_ONCE)
    needed = {version.digest for prompt in store.list_prompts() for version in prompt.versions}
    assert stored(store) == sorted(needed)
