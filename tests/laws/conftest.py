"""Laws are about prompts."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a loss takes longer than training here does."""
    monkeypatch.setattr("softprompt.training.prepared_run.plot_loss", lambda *_: None)
