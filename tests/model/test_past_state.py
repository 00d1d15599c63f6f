"""The state that precedes the tokens of a batch."""

from __future__ import annotations

import torch

from softprompt.model import PastState, PromptedDynamicCache
from tests.strategies import random_prefix
from tests.tiny import shared_model


@torch.no_grad()
def test_a_growing_past_counts_the_positions_of_each_sequence() -> None:
    model = shared_model("llama")
    past = model.make_past_state([random_prefix(model, 3, 0), None], 2, growable=True)
    assert isinstance(past, PastState)
    assert past.lengths.tolist() == [3, 0]


@torch.no_grad()
def test_a_growing_cache_has_the_mask_of_its_positions() -> None:
    model = shared_model("llama")
    past = model.make_past_state([random_prefix(model, 3, 0), None], 2, growable=True)
    extended = past.extend_mask(torch.tensor([[True, True], [True, False]]))
    assert extended.lengths.tolist() == [5, 1]
    assert isinstance(past.kv_cache, PromptedDynamicCache)
    assert past.kv_cache.attention_mask.tolist() == extended.attention_mask.tolist()


@torch.no_grad()
def test_without_a_hidden_state_cache_all_layers_run() -> None:
    model = shared_model("llama")
    past = model.make_past_state(random_prefix(model, 4, seed=0, ground=1), 2)
    assert (past.first_layer, past.frozen_prefixes) == (0, ())
    assert past.kv_cache is not None
    assert len(past.kv_cache.layers) == model.shape.num_layers
