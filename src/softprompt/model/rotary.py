"""Keys that were rotated for one position, moved to another (rotary embeddings: Su et al. 2021, arXiv 2104.09864)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from softprompt.model.frozen_model import FrozenModel

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines `[P, R]` by which the first R numbers of a head turn at each of P positions."""


def shift_positions(
    model: FrozenModel, kv: Float[Tensor, "L 2 G P D"], offset: int | Int[Tensor, "P"]
) -> Float[Tensor, "L 2 G P D"]:
    """Keys and values as they are `by` positions further on: keys turned by as many angles, values the same.

    `by` is one distance for all P positions, or one for each of them.

    Where positions are learned they are in the first layer's input and cannot be moved; with ALiBi they are no part of
    the keys. There everything stays as it is.
    """
    rotary = getattr(model.family.get_backbone(model.network), "rotary_emb", None)
    if rotary is None or not model.family.uses_position_ids(model.network.config):  # Falcon has one even with ALiBi
        return kv
    distances = torch.as_tensor(offset, device=kv.device).expand(kv.shape[3])
    turns = [_compute_rotation(rotary, layer, kv, distances) for layer in _get_layer_types(model)]
    keys = torch.stack([_rotate_keys(layer[0], *turn) for layer, turn in zip(kv, turns, strict=True)])
    return torch.stack([keys, kv[:, 1]], dim=1)


def _get_layer_types(model: FrozenModel) -> list[str]:
    types: list[str] | None = getattr(model.network.config, "layer_types", None)
    return types or ["full_attention"] * model.shape.num_layers


def _compute_rotation(rotary_embedding: nn.Module, layer_type: str, like: Tensor, offset: Int[Tensor, "P"]) -> Rotation:
    """The turn of one layer; Gemma 3 turns its sliding layers by other angles than its full ones."""
    own: dict[str, Any] = {"layer_type": layer_type} if hasattr(rotary_embedding, f"{layer_type}_inv_freq") else {}
    cos, sin = rotary_embedding(like.float(), offset.unsqueeze(0), **own)
    scale = torch.hypot(cos, sin)  # some rotary embeddings stretch what they turn, which these keys are already
    return (cos / scale)[0], (sin / scale)[0]


def _rotate_keys(
    keys: Float[Tensor, "G P D"], cos: Float[Tensor, "P R"], sin: Float[Tensor, "P R"]
) -> Float[Tensor, "G P D"]:
    """The first R numbers of each head turned, as pairs of one from each half; the others have no position."""
    R = cos.shape[-1]
    turning, still = keys.split([R, keys.shape[-1] - R], dim=-1)
    left, right = turning.chunk(2, dim=-1)
    return torch.cat([turning * cos + torch.cat([-right, left], dim=-1) * sin, still], dim=-1)
