"""The spread of keys, values and hidden states over tokens, which is the unit of learning rates."""

from __future__ import annotations

import pytest
import torch

from softprompt.model import FrozenModel, measure_hidden_state_spread, measure_kv_spread
from tests.rescaling import attentions, rescale
from tests.tiny import ALL_FAMILIES, shared_model, tiny_model

#: Families whose keys and values have a bias of their own.
WITH_BIAS = ("qwen2", "gpt2", "gpt_neox", "opt", "bert", "bart")


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_every_layer_has_a_positive_spread_of_keys_and_of_values(family: str) -> None:
    spread = measure_kv_spread(shared_model(family))
    assert spread.shape == (shared_model(family).shape.num_layers, 2)
    assert bool((spread > 0).all())


@pytest.mark.parametrize("family", [family for family in ALL_FAMILIES if family != "albert"])  # its layers are one
def test_kv_spread_scales_with_the_keys_and_values_of_a_layer(family: str) -> None:
    model, scaled = tiny_model(family), tiny_model(family)
    rescale(scaled.network, 1, keys=100.0, values=0.01)
    ratio = measure_kv_spread(scaled) / measure_kv_spread(model)
    changed = (ratio.log().abs() > 0.1).any(dim=1).nonzero().flatten().tolist()
    assert len(changed) == 1, f"{changed} of {len(attentions(model.network))}"
    torch.testing.assert_close(ratio[changed[0]], torch.tensor([100.0, 0.01]), rtol=1e-3, atol=0)


def test_an_offset_shared_by_all_keys_and_values_does_not_change_the_spread() -> None:
    """Rotary embeddings rotate a shared bias by the position, so it is removed after keys are rotated back."""
    model, shifted = tiny_model("qwen2"), tiny_model("qwen2")
    with torch.no_grad():
        for layer in shifted.network.model.layers:
            layer.self_attn.k_proj.bias.zero_()
            layer.self_attn.v_proj.bias.zero_()
    before = measure_kv_spread(shifted)[0]
    with torch.no_grad():
        shifted.network.model.layers[0].self_attn.k_proj.bias.add_(50.0)
        shifted.network.model.layers[0].self_attn.v_proj.bias.add_(50.0)
    torch.testing.assert_close(measure_kv_spread(shifted)[0], before, rtol=1e-3, atol=0)
    assert model.name == shifted.name


def test_a_layer_with_constant_values_gets_the_geometric_mean_of_all_other_spreads() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.network.model.layers[1].self_attn.v_proj.weight.zero_()
    spread = measure_kv_spread(model)
    others = spread[torch.tensor([[True, True], [True, False], [True, True]])]
    assert float(spread[1, 1]) == pytest.approx(float(others.log().mean().exp()))


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_hidden_state_spread_is_within_three_orders_of_magnitude_of_one(family: str) -> None:
    model: FrozenModel = shared_model(family)
    assert 1e-3 < measure_hidden_state_spread(model) < 1e3
