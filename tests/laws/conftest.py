"""Fixture of all tests of laws."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the loss plot, which takes longer than the training in these tests."""
    monkeypatch.setattr("softprompt.training.prepared_run.plot_loss", lambda *_: None)
