"""GGUF files of tiny models, as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from softprompt.model import FrozenModel
from tests.tiny import tiny_model

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "gemma2": gguf.MODEL_ARCH.GEMMA2}
CHAT_TEMPLATE = "{% for message in messages %}<s>{{ message.content }}</s>{% endfor %}"


def gguf_file(path: Path, family: str = "llama", seed: int = 0, quantize: bool = False, **metadata: int) -> Path:
    """Write a tiny model of a family and return the path.

    Args:
        path: path of the file.
        family: one of `ARCHITECTURES`.
        seed: seed of the weights.
        quantize: store the matrices in 8 bits.
        metadata: additional numbers; `__` stands for a dot in the key.
    """
    write_gguf(path, tiny_model(family, seed), family, quantize, {k.replace("__", "."): v for k, v in metadata.items()})
    return path


def write_gguf(path: Path, model: FrozenModel, family: str, quantize: bool, metadata: dict[str, int]) -> None:
    """Write a model."""
    architecture = ARCHITECTURES[family]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    _add_sizes(writer, model.network.config)
    _add_tokenizer(writer, model)
    for key, number in metadata.items():
        writer.add_uint16(key, number) if key.startswith("split.") else writer.add_uint32(key, number)
    names = gguf.get_tensor_name_map(architecture, model.network.config.num_hidden_layers)
    for name, tensor in model.network.named_parameters():  # without a tied head
        base, _, suffix = name.rpartition(".")
        weights = tensor.numpy()
        if family == "llama" and base.endswith(("q_proj", "k_proj")):
            weights = _interleaved(weights, model.network.config, base)
        if family == "gemma2" and "norm" in base:
            weights = weights + 1
        found = f"{names.get_name(base)}.{suffix}"
        if quantize and weights.ndim == 2 and weights.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(found, gguf.quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(found, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleaved(weights: np.ndarray[Any, Any], config: Any, name: str) -> np.ndarray[Any, Any]:
    """Reorder weights as llama.cpp orders the halves of a rotary embedding."""
    heads = config.num_attention_heads if name.endswith("q_proj") else config.num_key_value_heads
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def _add_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    if config.model_type == "gemma2":
        writer.add_key_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)


def _add_tokenizer(writer: gguf.GGUFWriter, model: FrozenModel) -> None:
    trained = json.loads(model.tokenizer.backend_tokenizer.to_str())
    tokens = sorted(trained["model"]["vocab"], key=trained["model"]["vocab"].get)
    tokens += [f"[PAD{index}]" for index in range(len(tokens), model.shape.vocab_size)]  # as many as embeddings
    special = set(model.tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL) for t in tokens])
    writer.add_token_merges([" ".join(pair) for pair in trained["model"]["merges"]])
    writer.add_bos_token_id(model.tokenizer.bos_token_id)
    writer.add_eos_token_id(model.tokenizer.eos_token_id)
    writer.add_pad_token_id(model.tokenizer.pad_token_id)
    writer.add_chat_template(CHAT_TEMPLATE)
