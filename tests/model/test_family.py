"""Families: what each configuration allows, resolved once at load."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
)

from softprompt.errors import SettingError
from softprompt.model import freeze_network
from softprompt.model.family import get_sliding_window, resolve_family
from tests.strategies import random_embeddings
from tests.tiny import shared_model, tiny_tokenizer

LONGROPE = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48, "rope_type": "longrope", "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("config", "window"),
    [
        (LlamaConfig(max_position_embeddings=300), 300),
        (LlamaConfig(max_position_embeddings=300, rope_parameters={"rope_type": "dynamic", "factor": 2.0}), 300),
        (MistralConfig(max_position_embeddings=300, sliding_window=100), 100),
        (MistralConfig(max_position_embeddings=300, sliding_window=None), 300),
        (Qwen2Config(max_position_embeddings=300, sliding_window=100), 300),
        (
            Qwen2Config(max_position_embeddings=300, sliding_window=100, use_sliding_window=True, max_window_layers=32),
            300,
        ),
        (
            Qwen2Config(max_position_embeddings=300, sliding_window=100, use_sliding_window=True, max_window_layers=2),
            100,
        ),
        (Gemma2Config(max_position_embeddings=300, sliding_window=100), 100),
        (Phi3Config(max_position_embeddings=131072, sliding_window=262144, rope_parameters=LONGROPE), 4096),
        (FalconConfig(max_position_embeddings=300, alibi=True), 300),
    ],
)
def test_the_window_is_where_every_layer_still_sees_the_whole_row(config: PreTrainedConfig, window: int) -> None:
    assert resolve_family(config).get_max_positions(config) == window


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3", "phi3"])
def test_beyond_a_sliding_window_is_refused(family: str) -> None:
    model = shared_model(family)
    window = get_sliding_window(model.network.config)
    assert window is not None
    payload = model.compile(random_embeddings(model, 6, seed=0))
    fits = torch.full((1, window - 6), 9)
    model.compute_hidden_states(fits, torch.ones_like(fits, dtype=torch.bool), payload)
    longer = torch.full((1, window - 5), 9)
    with pytest.raises(SettingError, match=rf"exceed the sliding window of .* \({window}\)"):
        model.compute_hidden_states(longer, torch.ones_like(longer, dtype=torch.bool), payload)


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_logits_are_what_the_whole_network_gives(family: str) -> None:
    model = shared_model(family)
    ids = torch.tensor([[7, 8, 9, 200]])
    with torch.no_grad():
        whole = model.network(input_ids=ids).logits
        found = model.compute_logits(model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool)))
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)


def test_words_may_be_embedded_narrower_than_the_layers_are() -> None:
    """As in OPT-350m: projections in front of the first layer and behind the last."""
    size: dict[str, Any] = {"vocab_size": 384, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = OPTConfig(**size, ffn_dim=40, max_position_embeddings=64, word_embed_proj_dim=16)
    torch.manual_seed(0)
    model = freeze_network(AutoModelForCausalLM.from_config(config), tiny_tokenizer(), "narrow")
    assert (model.shape.embedding_size, model.shape.hidden_size, model.shape.head_dim) == (16, 16, 6)
    virtual = random_embeddings(model, 3, seed=0).tensor
    ids = torch.tensor([[-1, -2, -3, 5, 6, 7]])
    with torch.no_grad():
        whole = model.network(inputs_embeds=model.embed_tokens(ids, virtual.unsqueeze(0))).logits[:, 3:]
        payload = model.compile(random_embeddings(model, 3, seed=0))
        text = ids[:, 3:]
        found = model.compute_logits(
            model.compute_hidden_states(text, torch.ones_like(text, dtype=torch.bool), payload)
        )
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)
