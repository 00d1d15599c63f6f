"""A store that is empty, and prompts to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from softprompt.saved import SavedPrompt
from softprompt.store import Store
from tests.store.making import several


@pytest.fixture(scope="session")
def saved() -> list[SavedPrompt]:
    """Four prompts for one base model, each another content."""
    return several(4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened
