"""Fixtures: empty registries of each kind, and prompts to register."""

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
    """Location of a registry, which may not exist yet."""

    place: str
    prompts: str | None = None

    def open(self, *, create: bool = False) -> PromptRegistry:
        return PromptRegistry.open(self.place, create=create, artifact_location=self.prompts)


@pytest.fixture(scope="session")
def saved() -> list[SavedPrompt]:
    """Four different prompts for one base model."""
    return several(4)


@pytest.fixture
def shared(postgres: Postgres, objects: Objects) -> Home:
    """Empty PostgreSQL database and empty artifact location on S3."""
    return Home(postgres.schema(), objects.place())


@pytest.fixture(params=["folder", "shared"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Location without a registry: a folder, or a database and S3."""
    return Home(str(tmp_path / "store")) if request.param == "folder" else request.getfixturevalue("shared")


@pytest.fixture
def store(home: Home) -> Iterator[PromptRegistry]:
    """Empty registry of each kind."""
    with home.open(create=True) as opened:
        yield opened


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[PromptRegistry]:
    """Empty registry in a folder."""
    with PromptRegistry.open(tmp_path / "store", create=True) as opened:
        yield opened
