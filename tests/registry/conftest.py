"""Stores that are empty, on each kind of place, and prompts to put into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.registry.factories import several
from tests.registry.object_store_server import Objects
from tests.registry.postgres_server import Postgres


@dataclass(frozen=True)
class Home:
    """Where a store is, or will be."""

    place: str
    prompts: str | None = None

    def open(self, *, create: bool = False) -> PromptRegistry:
        return PromptRegistry.open(self.place, create=create, artifact_location=self.prompts)


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
def store(home: Home) -> Iterator[PromptRegistry]:
    """An empty one, of each kind."""
    with home.open(create=True) as opened:
        yield opened


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[PromptRegistry]:
    """An empty one in a folder."""
    with PromptRegistry.open(tmp_path / "store", create=True) as opened:
        yield opened
