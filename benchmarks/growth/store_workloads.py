"""How listing, uploading to and collecting a store grow with what is in it.

The database is filled in one transaction and no folder is made, but for `collect`: what is timed does not read them.
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

from benchmarks.growth.workload import Workload
from softprompt.cli.main import run
from softprompt.saved import SavedPrompt
from softprompt.store import Store
from softprompt.store.change import Change

TENANT, PAGES = "acme", 100

_BASE = SimpleNamespace(name="smollm2-135m", fingerprint="0" * 16)
_MANIFEST = SimpleNamespace(
    method={"name": "prefix"}, num_virtual_tokens=20, task=SimpleNamespace(kind="chat"), base=_BASE
)
#: What the database keeps of a saved prompt, without one.
SAVED = cast(SavedPrompt, SimpleNamespace(manifest=_MANIFEST, files={"prompt.safetensors": b"0" * 1000}))


def make_store(prompts: int, versions: int = 1) -> Store:
    """A store in a new folder, with so many prompts of one tenant and so many versions of each."""
    store = Store.open(tempfile.mkdtemp(prefix="growth-"), create=True)
    with store._database.writing() as session:
        for number in range(prompts):
            change = Change(session, TENANT, f"customer-{number:06d}", "growth")
            for _ in range(versions):
                row = change.add(SAVED, f"{number:064x}", "a note")
            change.activate(row, "active")
            if number % 100 == 0:
                session.flush()
                session.expunge_all()
    return store


def list_for_people(size: int) -> Callable[[], object]:
    """Prepare `softprompt prompts list` of so many prompts."""
    return _list_on_command_line(size)


def list_as_json(size: int) -> Callable[[], object]:
    """Prepare `softprompt prompts list --json` of so many prompts."""
    return _list_on_command_line(size, "--json")


def _list_on_command_line(size: int, *options: str) -> Callable[[], object]:
    place = make_store(size).place

    def work() -> None:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            run(["prompts", "list", "--store", place, *options])

    return work


def read_pages(size: int) -> Callable[[], object]:
    """Prepare pages as `/v1/prompts` and `/v1/models` read them, in the middle of so many prompts."""
    store, middle = make_store(size), f"customer-{size // 2:06d}"

    def work() -> None:
        for _ in range(PAGES):
            store.prompts_page(TENANT, limit=100, after=middle, newest=20)
            store.aliases_page(TENANT, limit=100, after=(middle, "active"))

    return work


def add_version(size: int) -> Callable[[], object]:
    """Prepare what an upload asks of the database, where the tenant has so many versions of one prompt."""
    store = make_store(1, versions=size)

    def work() -> None:
        for _ in range(PAGES):
            store.size_of(TENANT)
            with store._changing(TENANT, "customer-000000", "growth") as change:
                change.activate(change.add(SAVED, "f" * 64, "", 2**40), "active")

    return work


def collect_unneeded(size: int) -> Callable[[], object]:
    """Prepare a collection of so many folders that nobody needs, beside as many that somebody does."""
    store = make_store(size)
    root = Path(store.prompts_at)
    for number in range(size):
        (root / f"{number:064x}").mkdir(parents=True)
        (root / f"{number + 2**40:064x}").mkdir()
    return lambda: store.collect(timedelta(0))


WORKLOADS = (
    Workload("store: prompts list", (1_000, 4_000, 10_000), list_for_people, "prompts"),
    Workload("store: prompts list --json", (1_000, 4_000, 10_000), list_as_json, "prompts"),
    Workload("store: 200 pages of 100", (1_000, 4_000, 10_000), read_pages, "prompts", is_bounded=True),
    Workload("store: the rows of 100 uploads", (100, 1_000, 5_000), add_version, "versions", is_bounded=True),
    Workload("store: collect", (1_000, 4_000, 10_000), collect_unneeded, "unneeded folders"),
)
