"""Growth of listing, uploading and garbage collection with the size of a prompt registry.

The database is filled in one transaction. Artifacts are created only for the garbage collection; the others do not read
them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from benchmarks.growth.workload import ScalingWorkload
from softprompt.cli.main import run_cli
from softprompt.registry import PromptRegistry
from softprompt.registry.prompt_mutation import PromptMutation
from softprompt.saved import SavedPrompt

TENANT, NUM_PAGES = "acme", 100

_BASE = SimpleNamespace(name="smollm2-135m", fingerprint="0" * 16)
_MANIFEST = SimpleNamespace(
    method={"name": "prefix"}, num_virtual_tokens=20, task=SimpleNamespace(kind="chat"), base=_BASE
)
#: The database's columns of a saved prompt, without an artifact.
SAVED_PROMPT = cast(SavedPrompt, SimpleNamespace(manifest=_MANIFEST, files={"prompt.safetensors": b"0" * 1000}))


def make_store(prompts: int, versions: int = 1) -> PromptRegistry:
    """Create a registry with prompts of one tenant, each with the given number of versions."""
    store = PromptRegistry.open(tempfile.mkdtemp(prefix="growth-"), create=True)
    with store._database.write_session() as session:
        for number in range(prompts):
            change = PromptMutation(session, TENANT, f"customer-{number:06d}", "growth")
            for _ in range(versions):
                row = change.add_version(SAVED_PROMPT, f"{number:064x}", "a note")
            change.activate_version(row, "active")
            if number % 100 == 0:
                session.flush()
                session.expunge_all()
    return store


def prepare_listing(size: int) -> Callable[[], object]:
    """Prepare `softprompt prompts list` of `size` prompts."""
    return _prepare_list_command(size)


def prepare_json_listing(size: int) -> Callable[[], object]:
    """Prepare `softprompt prompts list --json` of `size` prompts."""
    return _prepare_list_command(size, "--json")


def _prepare_list_command(size: int, *options: str) -> Callable[[], object]:
    place = make_store(size).location

    def run_list() -> None:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            run_cli(["prompts", "list", "--store", place, *options])

    return run_list


def prepare_pages(size: int) -> Callable[[], object]:
    """Prepare the pages of `/v1/prompts` and `/v1/models`, in the middle of `size` prompts."""
    store, middle = make_store(size), f"customer-{size // 2:06d}"

    def read_all_pages() -> None:
        for _ in range(NUM_PAGES):
            store.get_prompts_page(TENANT, limit=100, after=middle, num_newest=20)
            store.get_aliases_page(TENANT, limit=100, after=(middle, "active"))

    return read_all_pages


def prepare_uploads(size: int) -> Callable[[], object]:
    """Prepare the queries of an upload, for a tenant with `size` versions of one prompt."""
    store = make_store(1, versions=size)

    def add_versions() -> None:
        for _ in range(NUM_PAGES):
            store.get_tenant_size(TENANT)
            with PromptMutation.begin(store._database, TENANT, "customer-000000", "growth") as change:
                change.activate_version(change.add_version(SAVED_PROMPT, "f" * 64, "", 2**40), "active")

    return add_versions


def prepare_collection(size: int) -> Callable[[], object]:
    """Prepare a garbage collection of `size` unreferenced folders, next to as many referenced ones."""
    store = make_store(size)
    root = Path(store.artifact_location)
    for number in range(size):
        (root / f"{number:064x}").mkdir(parents=True)
        (root / f"{number + 2**40:064x}").mkdir()
    return lambda: store.collect_garbage(timedelta(0))


WORKLOADS = (
    ScalingWorkload("store: prompts list", (1_000, 4_000, 10_000), prepare_listing, "prompts"),
    ScalingWorkload("store: prompts list --json", (1_000, 4_000, 10_000), prepare_json_listing, "prompts"),
    ScalingWorkload("store: 200 pages of 100", (1_000, 4_000, 10_000), prepare_pages, "prompts", is_bounded=True),
    ScalingWorkload(
        "store: the rows of 100 uploads", (100, 1_000, 5_000), prepare_uploads, "versions", is_bounded=True
    ),
    ScalingWorkload("store: collect", (1_000, 4_000, 10_000), prepare_collection, "unneeded folders"),
)
