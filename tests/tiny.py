"""Tiny random models of every family, with weights large enough that a wrong answer differs by far more than 1e-4."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from softprompt.model import FrozenModel

WORDS = "the film was great fun a bore lovely awful good bad name food serves rice fish tea its plot ending scene"
BOS, EOS, PAD = "<s>", "</s>", "<pad>"

_SIZE: dict[str, Any] = {"vocab_size": 384, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}

_GROUPED: dict[str, Any] = {
    **_SIZE,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 128,
}
_SPECIAL: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_GROUPED),
    "qwen2": Qwen2Config(**_GROUPED),
    "qwen3": Qwen3Config(**_GROUPED, head_dim=8),  # wider in all than the hidden size, as Qwen3 is
    "mistral": MistralConfig(**_GROUPED, sliding_window=96),
    "gemma2": Gemma2Config(**_GROUPED, **_SPECIAL, head_dim=8, sliding_window=96, query_pre_attn_scalar=8),
    "gemma3": Gemma3TextConfig(**_GROUPED, **_SPECIAL, head_dim=8, sliding_window=96, sliding_window_pattern=2),
    "phi3": Phi3Config(**_GROUPED, **_SPECIAL, sliding_window=96),
    "gpt2": GPT2Config(vocab_size=384, n_embd=24, n_layer=3, n_head=4, n_positions=128),
    "bloom": BloomConfig(vocab_size=384, hidden_size=24, n_layer=3, n_head=4),
    "gpt_neox": GPTNeoXConfig(**_SIZE, intermediate_size=40, max_position_embeddings=128),
    "opt": OPTConfig(**_SIZE, **_SPECIAL, ffn_dim=40, max_position_embeddings=128),
    "falcon": FalconConfig(**_SIZE, **_SPECIAL, max_position_embeddings=128),  # one key/value head for all
    "falcon-new": FalconConfig(
        **_SIZE, **_SPECIAL, max_position_embeddings=128, new_decoder_architecture=True, num_kv_heads=2
    ),
    "falcon-alibi": FalconConfig(
        **_SIZE, **_SPECIAL, max_position_embeddings=128, alibi=True, multi_query=False, bias=True
    ),
}

FAMILIES = tuple(CONFIGS)

#: Families whose tokenizer puts a BOS in front of every text here, as the real ones' do.
WITH_BOS = ("llama",)


def tiny_model(family: str, seed: int = 0) -> FrozenModel:
    """A model of the family with random weights of the seed; a new one each time."""
    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_config(CONFIGS[family], dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return FrozenModel(network, tiny_tokenizer(bos=family in WITH_BOS), f"tiny-{family}-{seed}")


@cache
def shared_model(family: str) -> FrozenModel:
    """A model that no test changes."""
    return tiny_model(family)


@cache
def tiny_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer with a few whole words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS, f" {WORDS}"] * 3, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)
