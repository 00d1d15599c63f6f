"""Keys that were rotated for one position, moved to another (rotary embeddings: Su et al. 2021, arXiv 2104.09864)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from softprompt.model.frozen import FrozenModel

Turn = tuple[Tensor, Tensor]
"""Cosines and sines `[P, R]` by which the first R numbers of a head turn at each of P positions."""


def moved_on(
    model: FrozenModel, tensor: Float[Tensor, "L 2 G P D"], by: int | Int[Tensor, "P"]
) -> Float[Tensor, "L 2 G P D"]:
    """Keys and values as they are `by` positions further on: keys turned by as many angles, values the same.

    `by` is one distance for all P positions, or one for each of them.

    Where positions are learned they are in the first layer's input and cannot be moved; with ALiBi they are no part of
    the keys. There everything stays as it is.
    """
    rotary = getattr(model.family.trunk(model.network), "rotary_emb", None)
    if rotary is None or not model.family.told_positions(model.network.config):  # Falcon has one even with ALiBi
        return tensor
    distances = torch.as_tensor(by, device=tensor.device).expand(tensor.shape[3])
    turns = [_turn(rotary, layer, tensor, distances) for layer in _layer_types(model)]
    keys = torch.stack([_turned(layer[0], *turn) for layer, turn in zip(tensor, turns, strict=True)])
    return torch.stack([keys, tensor[:, 1]], dim=1)


def _layer_types(model: FrozenModel) -> list[str]:
    types: list[str] | None = getattr(model.network.config, "layer_types", None)
    return types or ["full_attention"] * model.shape.num_layers


def _turn(rotary: nn.Module, layer_type: str, like: Tensor, by: Int[Tensor, "P"]) -> Turn:
    """The turn of one layer; Gemma 3 turns its sliding layers by other angles than its full ones."""
    own: dict[str, Any] = {"layer_type": layer_type} if hasattr(rotary, f"{layer_type}_inv_freq") else {}
    cos, sin = rotary(like.float(), by.unsqueeze(0), **own)
    scale = torch.hypot(cos, sin)  # some rotary embeddings stretch what they turn, which these keys are already
    return (cos / scale)[0], (sin / scale)[0]


def _turned(
    keys: Float[Tensor, "G P D"], cos: Float[Tensor, "P R"], sin: Float[Tensor, "P R"]
) -> Float[Tensor, "G P D"]:
    """The first R numbers of each head turned, as pairs of one from each half; the others have no position."""
    R = cos.shape[-1]
    turning, still = keys.split([R, keys.shape[-1] - R], dim=-1)
    left, right = turning.chunk(2, dim=-1)
    return torch.cat([turning * cos + torch.cat([-right, left], dim=-1) * sin, still], dim=-1)
