"""Logits of the language-modeling head."""

from __future__ import annotations

import pytest
import torch

from tests.strategies import laid_out
from tests.tiny import FAMILIES, shared_model


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_equal_those_of_the_network(family: str) -> None:
    model = shared_model(family)
    ids, mask = laid_out([[5, 9, 77, 300]], "right")
    hidden = model.compute_hidden_states(ids, mask)
    torch.testing.assert_close(model.compute_logits(hidden), model.network(ids).logits)
    some = torch.tensor([7, 300, 2])
    torch.testing.assert_close(model.compute_logits(hidden, some), model.network(ids).logits[..., some])


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_softcapped_logits_equal_those_of_the_network(family: str) -> None:
    model = shared_model(family)
    ids = torch.tensor([[7, 8, 9, 200]])
    with torch.no_grad():
        whole = model.network(input_ids=ids).logits
        found = model.compute_logits(model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool)))
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)
