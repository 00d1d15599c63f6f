"""A network in spans gives what it gives whole."""

from __future__ import annotations

import pytest
import torch

from softprompt.model import CausalModel, Past, Prefix
from softprompt.model.cache import Span
from tests.strategies import laid_out, random_prefix
from tests.tiny import FAMILIES, shared_model


def causal(family: str) -> CausalModel:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_layer_by_layer_is_at_once(family: str) -> None:
    model = causal(family)
    ids, mask = laid_out([[5, 9, 77], [31, 8]], "right")
    nothing = torch.zeros(2, 0, dtype=torch.bool)
    spans = tuple(Span(layer, layer + 1, None, nothing) for layer in range(model.shape.num_layers))
    torch.testing.assert_close(model.advance(ids, mask, Past(spans)), model.hidden(ids, mask), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_prefix_in_the_top_layers_is_one_that_nobody_below_attends_to(family: str) -> None:
    """Rows of two prompts: what one row's prompt does below the other's first layer is not seen by the other."""
    model = causal(family)
    whole, top = random_prefix(model, 4, seed=0), random_prefix(model, 3, seed=1, first_layer=1)
    ids, mask = laid_out([[5, 9, 77]] * 3, "right")
    mixed = model.hidden(ids, mask, [whole, top, None])
    for row, payload in enumerate((whole, top, None)):
        alone = model.hidden(ids[:1], mask[:1], payload)
        torch.testing.assert_close(mixed[row], alone[0], atol=1e-5, rtol=0)
    assert (mixed[1] - mixed[2]).abs().max() > 1e-3


@torch.no_grad()
def test_from_the_first_layer_on_it_is_a_prefix_like_any_other() -> None:
    model = causal("llama")
    ids, mask = laid_out([[5, 9, 77]], "right")
    prefix = random_prefix(model, 4, seed=0)
    again = Prefix(prefix.tensor, first_layer=0)
    torch.testing.assert_close(model.hidden(ids, mask, again), model.hidden(ids, mask, prefix), atol=0, rtol=0)


def test_no_gradient_is_computed_below() -> None:
    model = causal("llama")
    prefix = random_prefix(model, 4, seed=0, first_layer=2)
    leaf = prefix.tensor.clone().requires_grad_()
    ids, mask = laid_out([[5, 9, 77]], "right")
    seen: list[bool] = []
    handles = [
        layer.register_forward_hook(lambda _, __, output: seen.append(output.requires_grad))
        for layer in model.family.layers(model.network)
    ]
    try:
        model.hidden(ids, mask, prefix.with_tensor(leaf)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [layer >= 2 for layer in range(model.shape.num_layers)]
    assert leaf.grad is not None
    assert bool(leaf.grad.abs().sum() > 0)
