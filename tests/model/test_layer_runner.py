"""Layers that run after a past state."""

from __future__ import annotations

import pytest
import torch

from softprompt.errors import SettingError
from softprompt.model.family import get_sliding_window
from tests.strategies import random_embeddings
from tests.tiny import shared_model


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3", "phi3"])
def test_sequences_longer_than_a_sliding_window_are_rejected(family: str) -> None:
    model = shared_model(family)
    window = get_sliding_window(model.network.config)
    assert window is not None
    payload = model.compile_payload(random_embeddings(model, 6, seed=0))
    fits = torch.full((1, window - 6), 9)
    model.compute_hidden_states(fits, torch.ones_like(fits, dtype=torch.bool), payload)
    longer = torch.full((1, window - 5), 9)
    with pytest.raises(SettingError, match=rf"exceed the sliding window of .* \({window}\)"):
        model.compute_hidden_states(longer, torch.ones_like(longer, dtype=torch.bool), payload)
