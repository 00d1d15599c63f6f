"""Fixtures: a fake Hub on loopback, and a prompt to upload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from softprompt.saved import SavedPrompt
from tests.hub.fake_hub import FakeHub, connected
from tests.saved.factories import make


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """Fake Hub that huggingface_hub is connected to."""
    with connected(monkeypatch, tmp_path / "huggingface") as fake:
        yield fake


@pytest.fixture
def saved() -> SavedPrompt:
    """Prompt embeddings of a classifier; the base model `tiny-llama-0` is on no Hub."""
    return make()


@pytest.fixture
def folder(saved: SavedPrompt, tmp_path: Path) -> Path:
    """Folder of the saved prompt."""
    saved.save_to(tmp_path / "prompts" / "reviews")
    return tmp_path / "prompts" / "reviews"
