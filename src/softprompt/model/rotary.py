"""Rotate keys from one position to another (rotary embeddings: Su et al. 2021, arXiv 2104.09864)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from softprompt.model.frozen_model import FrozenModel

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines `[P, R]` that rotate the first R numbers of a head at each of P positions."""


def shift_positions(
    model: FrozenModel, kv: Float[Tensor, "L 2 G P D"], offset: int | Int[Tensor, "P"]
) -> Float[Tensor, "L 2 G P D"]:
    """Return keys and values as they are `offset` positions later: keys are rotated, values unchanged.

    Without rotary embeddings both stay unchanged. Learned positions are part of the first layer's input and cannot be
    shifted; with ALiBi, keys do not contain positions.

    Args:
        model: model that computed the keys and values.
        kv: keys and values of all layers.
        offset: number of positions, one for all P positions or one for each.
    """
    rotary = getattr(model.family.get_backbone(model.network), "rotary_emb", None)
    if rotary is None or not model.family.uses_position_ids(model.network.config):  # Falcon has one even with ALiBi
        return kv
    distances = torch.as_tensor(offset, device=kv.device).expand(kv.shape[3])
    rotations = [_compute_rotation(rotary, layer_type, kv, distances) for layer_type in _get_layer_types(model)]
    keys = torch.stack([_rotate_keys(layer[0], *rotation) for layer, rotation in zip(kv, rotations, strict=True)])
    return torch.stack([keys, kv[:, 1]], dim=1)


def _get_layer_types(model: FrozenModel) -> list[str]:
    types: list[str] | None = getattr(model.network.config, "layer_types", None)
    return types or ["full_attention"] * model.shape.num_layers


def _compute_rotation(rotary_embedding: nn.Module, layer_type: str, like: Tensor, offset: Int[Tensor, "P"]) -> Rotation:
    """Compute the rotation of one layer; in Gemma 3, layers with a sliding window have angles of their own."""
    arguments: dict[str, Any] = (
        {"layer_type": layer_type} if hasattr(rotary_embedding, f"{layer_type}_inv_freq") else {}
    )
    cos, sin = rotary_embedding(like.float(), offset.unsqueeze(0), **arguments)
    scale = torch.hypot(cos, sin)  # some rotary embeddings also scale, and these keys are scaled already
    return (cos / scale)[0], (sin / scale)[0]


def _rotate_keys(
    keys: Float[Tensor, "G P D"], cos: Float[Tensor, "P R"], sin: Float[Tensor, "P R"]
) -> Float[Tensor, "G P D"]:
    """Rotate the first R numbers of each head, in pairs with one number of each half; the rest has no position."""
    R = cos.shape[-1]
    rotary, rest = keys.split([R, keys.shape[-1] - R], dim=-1)
    left, right = rotary.chunk(2, dim=-1)
    return torch.cat([rotary * cos + torch.cat([-right, left], dim=-1) * sin, rest], dim=-1)
