"""The interface between a soft prompt and a model: shapes, first-layer values, gradients and scale."""

from __future__ import annotations

import pytest
import torch

from tests.strategies import laid_out, random_prefix
from tests.tiny import CONFIGS, FAMILIES, shared_model

each_family = pytest.mark.parametrize("family", FAMILIES)


@each_family
def test_the_model_shape_equals_the_shape_of_the_kv_cache(family: str) -> None:
    model = shared_model(family)
    prefix = model.compute_kv(torch.zeros(5, model.shape.embedding_size))
    assert prefix.shape == model.shape.get_prefix_shape(5)
    assert model.shape.vocab_size == CONFIGS[family].vocab_size


@each_family
@torch.no_grad()
def test_first_layer_values_equal_those_of_a_whole_pass(family: str) -> None:
    model = shared_model(family)
    ids = torch.tensor([5, 300, 42])
    found = model.compute_first_layer_values(ids)
    for token, values in zip(ids, found, strict=True):
        whole = model.compute_kv(model.embed_tokens(token.view(1, 1))[0])
        torch.testing.assert_close(values, whole[0, 1, :, 0].flatten())


@each_family
def test_gradients_reach_the_prompt_and_no_weight(family: str) -> None:
    model = shared_model(family)
    prefix = random_prefix(model, 3, 0)
    leaf = prefix.tensor.clone().requires_grad_()
    ids, mask = laid_out([[5, 9, 77], [31, 8]], "right")
    model.compute_logits(model.compute_hidden_states(ids, mask, prefix.with_tensor(leaf))).square().mean().backward()
    assert leaf.grad is not None
    assert bool((leaf.grad.flatten(3).abs().amax(dim=3) > 0).all())  # keys and values of every layer and head
    assert not any(p.grad is not None for p in model.network.parameters())


def test_embedding_rms_is_the_root_mean_square_of_the_embeddings() -> None:
    model = shared_model("llama")
    weight = model.network.get_input_embeddings().weight
    assert model.embedding_rms == pytest.approx(float(weight.square().mean().sqrt()))
