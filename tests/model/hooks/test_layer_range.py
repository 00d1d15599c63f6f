"""A range of layers computes what the same layers compute in the whole network."""

from __future__ import annotations

import pytest
import torch

from softprompt.model import CausalModel, KVPrefix
from softprompt.model.hooks.layer_range import LayerRangeEnd, view_layer_range
from tests.strategies import laid_out, random_prefix
from tests.tiny import FAMILIES, shared_model


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_running_layers_one_by_one_equals_running_the_whole_network(family: str) -> None:
    model = shared_model(family)
    ids, mask = laid_out([[5, 9, 77], [31, 8]], "right")
    trunk, layers = model.family.get_backbone(model.network), model.family.get_layers(model.network)
    given = {"inputs_embeds": model.embed_tokens(ids), "attention_mask": mask.long(), "use_cache": False}
    if model.family.uses_position_ids(model.network.config):
        given["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
    states = None
    for layer in range(len(layers)):
        try:
            states = view_layer_range(trunk, layers, layer, layer + 1, states, model.family.layers_return_tuples)(
                **given
            )
        except LayerRangeEnd as reached:
            states = reached.hidden_states
    torch.testing.assert_close(states.last_hidden_state, model.compute_hidden_states(ids, mask), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_trained_and_a_frozen_prefix_equal_one_prefix_of_all_layers(family: str) -> None:
    model = shared_model(family)
    prefix = random_prefix(model, 4, seed=0, ground=1)
    ids, mask = laid_out([[5, 9, 77], [31, 8]], "right")
    whole = prefix.slice_from_layer(0)
    assert whole.frozen_prefix is None
    assert torch.equal(whole.tensor, random_prefix(model, 4, seed=0).tensor)
    assert torch.equal(model.compute_hidden_states(ids, mask, prefix), model.compute_hidden_states(ids, mask, whole))


class Forgetful:
    """Store that stores nothing."""

    def get(self, *_: object) -> dict[bytes, torch.Tensor]:
        return {}

    def put(self, *_: object) -> None:
        pass


def test_no_gradient_is_computed_below_the_trained_layers() -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    prefix = random_prefix(model, 4, seed=0, ground=2)
    leaf = prefix.tensor.clone().requires_grad_()
    ids, mask = laid_out([[5, 9, 77]], "right")
    seen: list[bool] = []
    handles = [
        layer.register_forward_hook(lambda _, __, output: seen.append(output.requires_grad))
        for layer in model.family.get_layers(model.network)
    ]
    try:
        model.with_hidden_state_cache(Forgetful()).compute_hidden_states(
            ids, mask, prefix.with_tensor(leaf)
        ).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [layer >= 2 for layer in range(model.shape.num_layers)]
    assert leaf.grad is not None
    assert bool(leaf.grad.abs().sum() > 0)


def test_sequences_may_have_different_frozen_prefixes() -> None:
    """Each sequence has its own frozen prefix or none, with and without the cache."""
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    prefixes = [random_prefix(model, n, seed=n, ground=ground) for n, ground in ((2, 1), (3, 1), (4, 0))]
    ids, mask = laid_out([[5, 9, 77], [31, 8], [6]], "left")
    with torch.no_grad():
        for payloads in (prefixes, [prefixes[0], prefixes[1], prefixes[0]]):
            expected = model.compute_hidden_states(
                ids, mask, [KVPrefix(each.slice_from_layer(0).tensor) for each in payloads]
            )
            found = model.with_hidden_state_cache(Forgetful()).compute_hidden_states(ids, mask, payloads)
            torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=0)
