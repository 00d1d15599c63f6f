"""Models with equal outputs, but other scales of keys and values in one attention layer.

A factor on a layer's keys is divided from its queries, and a factor on its values from the output projection. So no
output changes, and only trained parameters in between can notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

#: Names of separate projections of queries, keys and values.
SEPARATE = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q", "k", "v"))
#: Names of fused projections of all three.
FUSED = ("qkv_proj", "query_key_value", "c_attn")
OUTPUT = ("o_proj", "out_proj", "dense", "out_lin", "o", "c_proj")


def attentions(network: nn.Module) -> list[tuple[Any, Any]]:
    """Return the attention modules of a network in order, each with its output projection."""
    found: list[tuple[Any, Any]] = []
    for module in network.modules():
        if hasattr(module, "self") and hasattr(module, "output"):  # BERT has two modules
            found.append((module.self, module.output.dense))
        elif _separate(module) or _fused(module):
            output = next((getattr(module, name) for name in OUTPUT if hasattr(module, name)), None)
            found += [] if output is None else [(module, output)]
    return found


@torch.no_grad()
def rescale(network: nn.Module, layer: int, keys: float, values: float) -> None:
    """Multiply one attention layer's keys and values, and compensate it in the other projections."""
    module, output = attentions(network)[layer]
    if names := _separate(module):
        _rescale_separate(module, names, keys, values)
    else:
        _rescale_fused(getattr(module, _fused(module)), _kinds(module, network.config), keys, values)
    output.weight.mul_(1 / values)


def _separate(module: nn.Module) -> Sequence[str]:
    return next((names for names in SEPARATE if all(hasattr(module, name) for name in names)), ())


def _fused(module: nn.Module) -> str:
    return next((name for name in FUSED if hasattr(module, name)), "")


def _rescale_separate(module: Any, names: Sequence[str], keys: float, values: float) -> None:
    query, key, value = (getattr(module, name) for name in names)
    if hasattr(module, "k_norm"):  # normalization removes the scale of its input
        _scale_norm(module.k_norm, keys)
        _scale_norm(module.q_norm, 1 / keys)
    else:
        _scale_layer(key, keys)
        _scale_layer(query, 1 / keys)
    _scale_layer(value, values)


def _scale_norm(norm: Any, factor: float) -> None:
    """Scale the weights of a normalization; Gemma adds one to its weights."""
    one = 1.0 if "Gemma" in type(norm).__name__ else 0.0
    norm.weight.copy_((norm.weight + one) * factor - one)


def _scale_layer(layer: Any, factor: float | torch.Tensor) -> None:
    layer.weight.mul_(factor if isinstance(factor, float) else factor.unsqueeze(1))
    if layer.bias is not None:
        layer.bias.mul_(factor)


def _rescale_fused(projection: Any, kinds: Sequence[str], keys: float, values: float) -> None:
    by = {"q": 1 / keys, "k": keys, "v": values}
    is_transposed = "Conv1D" in type(projection).__name__
    rows = projection.weight.shape[1 if is_transposed else 0]
    factors = torch.tensor([by[kind] for kind in kinds]).repeat_interleave(rows // len(kinds))
    if is_transposed:
        projection.weight.mul_(factors)
        projection.bias.mul_(factors)
    else:
        _scale_layer(projection, factors)


def _kinds(module: nn.Module, config: Any) -> list[str]:
    """Return whether each equal block of rows of a fused projection gives queries, keys or values."""
    name = type(module).__name__
    heads, groups = config.num_attention_heads, getattr(config, "num_key_value_heads", 0)
    if name.startswith("GPT2"):
        return ["q", "k", "v"]
    if name.startswith("Phi3"):
        return ["q"] * heads + ["k"] * groups + ["v"] * groups
    if name.startswith("Falcon") and config.new_decoder_architecture:
        return (["q"] * (heads // config.num_kv_heads) + ["k", "v"]) * config.num_kv_heads
    if name.startswith("Falcon") and config.multi_query:
        return ["q"] * heads + ["k", "v"]
    return ["q", "k", "v"] * heads
