"""Prompts to store, and what must hold of a store whatever happened to it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from softprompt.saved import SavedPrompt
from softprompt.store import Event, Store, Version
from softprompt.store.folders import OWNER
from tests.saved.making import make
from tests.strategies import random_embeddings
from tests.tiny import shared_model

AT_ONCE = timedelta(0)


def several(count: int) -> list[SavedPrompt]:
    """As many prompts for one base model, each another content."""
    return [make(random_embeddings(shared_model("llama"), 3, seed=seed)) for seed in range(count)]


def folder_of(store: Store, version: Version) -> Path:
    """Where a version's prompt is, in a store whose prompts lie on the disk."""
    return Path(store.prompts_at) / version.content


def stored(store: Store) -> list[str]:
    """All that lies where the store's prompts do, hidden things too; the file that says whose they are apart."""
    files, root = url_to_fs(store.prompts_at, use_listings_cache=False)
    found = {Path(each).name for each in files.find(root, withdirs=True, maxdepth=1) if each != root}
    return sorted(name.removesuffix(".zip") for name in found - {"gone", OWNER})


def check_whole(store: Store) -> None:
    """Nothing is damaged, whatever has a name can be read, and the store is what its history tells."""
    found = store.verify()
    assert found.whole, found
    prompts = store.prompts()
    for prompt in prompts:
        for version in prompt.versions:
            assert store.resolve(str(version), tenant=prompt.tenant) == version
            assert store.read(version).manifest.content_hash == f"sha256:{version.content}"
        for alias, number in prompt.aliases.items():
            assert store.resolve(f"{prompt.name}@{alias}", tenant=prompt.tenant).number == number
    check_sums(store)
    assert {(p.tenant, p.name): ({v.number for v in p.versions}, p.aliases) for p in prompts} == told(store.history())


def check_sums(store: Store) -> None:
    """What is kept of versions and activations beside them is what follows from them."""
    prompts = store.prompts()
    for tenant in {prompt.tenant for prompt in prompts}:
        own = [prompt for prompt in prompts if prompt.tenant == tenant]
        assert store.size_of(tenant) == sum(version.size for prompt in own for version in prompt.versions)
        pointing = {(each.name, each.alias): each.version.number for each in store.aliases_page(tenant, limit=99).items}
        assert pointing == {(p.name, alias): number for p in own for alias, number in p.aliases.items()}
    assert all(prompt.num_versions == len(prompt.versions) > 0 for prompt in prompts)


def told(history: Sequence[Event]) -> dict[tuple[Any, Any], tuple[set[int], dict[str, int]]]:
    """The versions and aliases of each prompt, as a history tells of them."""
    versions: defaultdict[tuple[Any, Any], set[Any]] = defaultdict(set)
    aliases: defaultdict[tuple[Any, Any], dict[str, Any]] = defaultdict(dict)
    for event in reversed(history):
        owner = event.tenant, event.prompt
        match event.what:
            case "add":
                versions[owner].add(event.version)
            case "remove":
                versions[owner].remove(event.version)
            case "activate" | "rollback":
                aliases[owner][event.details["alias"]] = event.version
            case "deactivate":
                del aliases[owner][event.details["alias"]]
    return {owner: (numbers, aliases[owner]) for owner, numbers in versions.items() if numbers}


def check_nothing_left_over(store: Store) -> None:
    """Once it is collected, there is what versions need and nothing else; what was being written is long given up."""
    for each in Path(store.prompts_at).glob(".*"):
        os.utime(each, (0, 0))
    store.collect(AT_ONCE)
    needed = {version.content for prompt in store.prompts() for version in prompt.versions}
    assert stored(store) == sorted(needed)
