"""A Hub on loopback, and prompts to send there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from softprompt.saved import SavedPrompt
from tests.hub.fake_hub import FakeHub, connected
from tests.saved.factories import make


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """The Hub that huggingface_hub speaks to."""
    with connected(monkeypatch, tmp_path / "huggingface") as fake:
        yield fake


@pytest.fixture
def saved() -> SavedPrompt:
    """A classifier's embeddings; its base is `tiny-llama-0`, which no Hub has."""
    return make()


@pytest.fixture
def folder(saved: SavedPrompt, tmp_path: Path) -> Path:
    """The same on the disk."""
    saved.save_to(tmp_path / "prompts" / "reviews")
    return tmp_path / "prompts" / "reviews"
