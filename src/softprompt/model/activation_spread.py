"""Spread of activations over tokens, the unit of learning rates for KV prefixes and linear heads.

The keys and values of each layer, and the hidden states that a linear head reads, have different scales. Much of a
scale may be an offset that all tokens share: Qwen2's keys have biases of up to 35, around which tokens differ by 0.3.
An update that is small compared with the offset can be large compared with the differences, so the offset is
subtracted.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softprompt.model.frozen_model import FrozenModel
from softprompt.model.rotary import shift_positions

#: Number of compared tokens, at most a quarter of the window. Measured: other tokens change a spread by 10 to 20%.
NUM_SAMPLE_TOKENS = 64


@torch.no_grad()
def measure_kv_spread(model: FrozenModel) -> Float[Tensor, "L 2"]:
    """Measure the spread over tokens of each layer's keys and values, in float32 on the CPU.

    The spread is the root mean square of a token's numbers after the mean over tokens is subtracted, of the median
    token: in some models a few tokens have numbers a hundred times larger than all others. Rotary keys are rotated back
    to one position first, because a rotated offset differs between positions. The first token of the sequence is left
    out: it is an attention sink, and its keys and values are unlike those of other tokens.

    A spread of zero is replaced by the geometric mean of the other spreads.
    """
    ids = _sample_token_ids(model)
    tensor = model.compute_kv(model.embed_tokens(ids.unsqueeze(0))[0]).float()
    unrotated = shift_positions(model, tensor, -torch.arange(len(ids), device=model.device))[:, :, :, 1:]
    squares = (unrotated - unrotated.mean(dim=3, keepdim=True)).pow(2).mean(dim=(2, 4))
    return _replace_zeros(squares.median(dim=-1).values.sqrt().cpu())


@torch.no_grad()
def measure_hidden_state_spread(model: FrozenModel) -> float:
    """Measure the spread over tokens of the last layer's output, as `measure_kv_spread` does of keys and values."""
    ids = _sample_token_ids(model).unsqueeze(0)
    states = model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool))[0, 1:].float()
    return float((states - states.mean(dim=0)).pow(2).mean(dim=-1).median().sqrt()) or 1.0


def _sample_token_ids(model: FrozenModel) -> Int[Tensor, "N"]:
    """Return evenly spaced token ids, without both ends of the vocabulary, where special tokens are."""
    count = min(NUM_SAMPLE_TOKENS, model.shape.window // 4) + 1
    return torch.linspace(0, model.shape.vocab_size - 1, count + 2, device=model.device)[1:-1].long()


def _replace_zeros(spread: Float[Tensor, "L 2"]) -> Float[Tensor, "L 2"]:
    """Replace zeros by the geometric mean of the other numbers, or by 1 if all are zero."""
    positive = spread[spread > 0]
    usual = positive.log().mean().exp() if len(positive) else torch.ones(())
    return torch.where(spread > 0, spread, usual)
