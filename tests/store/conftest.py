"""Stores that are empty, on each kind of place, and prompts to put into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from softprompt.saved import SavedPrompt
from softprompt.store import Store
from tests.store.making import several
from tests.store.objects import Objects
from tests.store.postgres import Postgres


@dataclass(frozen=True)
class Home:
    """Where a store is, or will be."""

    place: str
    prompts: str | None = None

    def open(self, *, create: bool = False) -> Store:
        return Store.open(self.place, create=create, prompts=self.prompts)


@pytest.fixture(scope="session")
def saved() -> list[SavedPrompt]:
    """Four prompts for one base model, each another content."""
    return several(4)


@pytest.fixture
def shared(postgres: Postgres, objects: Objects) -> Home:
    """A PostgreSQL database and a place for objects, both with nothing in them."""
    return Home(postgres.schema(), objects.place())


@pytest.fixture(params=["folder", "shared"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Where nothing is yet: a folder, and what several machines share."""
    return Home(str(tmp_path / "store")) if request.param == "folder" else request.getfixturevalue("shared")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    """An empty one, of each kind."""
    with home.open(create=True) as opened:
        yield opened


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Store]:
    """An empty one in a folder."""
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened
