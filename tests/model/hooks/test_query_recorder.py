"""Recorded queries are those that attention sees, and recording changes nothing."""

from __future__ import annotations

import pytest
import torch

from softprompt.errors import SettingError
from softprompt.model import CausalModel
from softprompt.model.family import get_attention_softcap
from softprompt.model.hooks.query_recorder import record_queries
from tests.strategies import random_prefix
from tests.tiny import FAMILIES, WITHOUT_QUERIES, shared_model, tiny_model

RECORDED = [family for family in FAMILIES if family not in WITHOUT_QUERIES]
IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 2, 2]])
MASK = torch.tensor([[True] * 4, [True, True, False, False]])


def causal(family: str) -> CausalModel:
    """Return the shared tiny model of a causal family."""
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    return model


@pytest.mark.parametrize("family", RECORDED)
@torch.no_grad()
def test_products_with_keys_are_the_logits_of_attention(family: str) -> None:
    """The output of a layer's attention, before its last projection, is what the queries compute from the prefix."""
    model = tiny_model(family)
    assert isinstance(model, CausalModel)
    model.network.config._attn_implementation = "eager"  # returns its weights
    prefix = random_prefix(model, 5, seed=0)
    weights: list[torch.Tensor] = []
    for layer in model.family.get_layers(model.network):
        attention = next(m for name, m in layer.named_modules() if name.endswith(("self_attn", "attn", "attention")))
        attention.register_forward_hook(lambda _m, _i, output: weights.append(output[1]))
    queries = model.compute_queries(IDS[:1, :1], MASK[:1, :1], prefix)
    assert len(weights) == model.shape.num_layers
    softcap = get_attention_softcap(model.network.config)
    for layer_weights, layer_queries, (keys, _) in zip(weights, queries, prefix.tensor, strict=True):
        grouped = layer_queries.unflatten(0, (keys.shape[0], -1))[:, :, 0]
        logits = grouped @ keys.transpose(1, 2)
        logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
        own = layer_weights[0, :, 0, :5]  # without the token's own key, whose logit is not known here
        torch.testing.assert_close(
            own / own.sum(dim=-1, keepdim=True), logits.softmax(dim=-1).flatten(0, 1), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("family", RECORDED)
@torch.no_grad()
def test_padding_has_no_queries_and_changes_none(family: str) -> None:
    model = causal(family)
    prefix = random_prefix(model, 5, seed=0)
    both = model.compute_queries(IDS, MASK, prefix)
    alone = [
        model.compute_queries(IDS[i : i + 1, :length], MASK[i : i + 1, :length], prefix)
        for i, length in ((0, 4), (1, 2))
    ]
    torch.testing.assert_close(both, torch.cat(alone, dim=2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", RECORDED)
@torch.no_grad()
def test_recording_changes_nothing(family: str) -> None:
    model = causal(family)
    implementation = model.network.config._attn_implementation
    expected = model.compute_hidden_states(IDS, MASK, random_prefix(model, 5, seed=0))
    with record_queries(model.network) as layer_queries:
        found = model.compute_hidden_states(IDS, MASK, random_prefix(model, 5, seed=0))
    assert torch.equal(found, expected)
    assert len(layer_queries) == model.shape.num_layers
    assert model.network.config._attn_implementation == implementation


@torch.no_grad()
def test_packed_layers_have_the_same_queries() -> None:
    model, packed = causal("qwen3"), tiny_model("qwen3")
    assert isinstance(packed, CausalModel)
    packed.pack_weights()
    prefix = random_prefix(model, 5, seed=0)
    expected = model.compute_queries(IDS, MASK, prefix)
    torch.testing.assert_close(packed.compute_queries(IDS, MASK, prefix), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", WITHOUT_QUERIES)
def test_a_family_whose_attention_cannot_be_recorded_is_named(family: str) -> None:
    model = causal(family)
    with pytest.raises(SettingError, match="cannot be recorded"):
        model.compute_queries(IDS, MASK)
