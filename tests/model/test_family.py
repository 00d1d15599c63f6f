"""Families: the limits of each configuration, resolved once at load."""

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

from softprompt.model import freeze_network
from softprompt.model.family import resolve_family
from tests.strategies import random_embeddings
from tests.tiny import tiny_tokenizer

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
def test_max_positions_are_limited_by_sliding_windows_and_longrope(config: PreTrainedConfig, window: int) -> None:
    assert resolve_family(config).get_max_positions(config) == window


def test_embeddings_narrower_than_the_layers_give_the_logits_of_the_network() -> None:
    """OPT-350m has projections before the first layer and after the last."""
    size: dict[str, Any] = {"vocab_size": 384, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = OPTConfig(**size, ffn_dim=40, max_position_embeddings=64, word_embed_proj_dim=16)
    torch.manual_seed(0)
    model = freeze_network(AutoModelForCausalLM.from_config(config), tiny_tokenizer(), "narrow")
    assert (model.shape.embedding_size, model.shape.hidden_size, model.shape.head_dim) == (16, 16, 6)
    virtual = random_embeddings(model, 3, seed=0).tensor
    ids = torch.tensor([[-1, -2, -3, 5, 6, 7]])
    with torch.no_grad():
        whole = model.network(inputs_embeds=model.embed_tokens(ids, virtual.unsqueeze(0))).logits[:, 3:]
        payload = model.compile_payload(random_embeddings(model, 3, seed=0))
        text = ids[:, 3:]
        found = model.compute_logits(
            model.compute_hidden_states(text, torch.ones_like(text, dtype=torch.bool), payload)
        )
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)
