"""How far the numbers of one token differ from those of another: what a learning rate is measured by.

Keys and values of a layer, and the states that a linear head reads, each have a scale of their own, and much of that
scale may be an offset that all tokens share: Qwen2's keys have biases of up to 35 around which tokens differ by 0.3. An
update that is small beside the offset can still be large beside what tells tokens apart, so the offset is left out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softprompt.model.frozen_model import FrozenModel
from softprompt.model.rotary import shift_positions

#: How many tokens are compared: a quarter of the window at most. Others in their place change a scale by 10 to 20%.
NUM_SAMPLE_TOKENS = 64


@torch.no_grad()
def measure_kv_spread(model: FrozenModel) -> Float[Tensor, "L 2"]:
    """The spread over tokens of each layer's keys and of its values, in float32 on the CPU.

    It is the root mean square of what is left of a token's numbers without their mean over tokens, for the median
    token: some models give a few tokens numbers a hundred times as large as all others. Rotary keys are compared as
    they are at one position, since a rotated offset differs from place to place. The first token of a row is left out,
    as it attracts the attention that is of no use elsewhere, and has keys and values unlike any other's.

    Where all tokens have the same keys or values, the spread is that of the model's other layers.
    """
    ids = _sample_token_ids(model)
    tensor = model.compute_kv(model.embed_tokens(ids.unsqueeze(0))[0]).float()
    here = shift_positions(model, tensor, -torch.arange(len(ids), device=model.device))[:, :, :, 1:]
    squares = (here - here.mean(dim=3, keepdim=True)).pow(2).mean(dim=(2, 4))
    return _replace_zeros(squares.median(dim=-1).values.sqrt().cpu())


@torch.no_grad()
def measure_hidden_state_spread(model: FrozenModel) -> float:
    """The spread over tokens of the last layer's output, as that of keys and values."""
    ids = _sample_token_ids(model).unsqueeze(0)
    states = model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool))[0, 1:].float()
    return float((states - states.mean(dim=0)).pow(2).mean(dim=-1).median().sqrt()) or 1.0


def _sample_token_ids(model: FrozenModel) -> Int[Tensor, "N"]:
    """Tokens from all over the vocabulary, without its ends, where special ones stand."""
    count = min(NUM_SAMPLE_TOKENS, model.shape.window // 4) + 1
    return torch.linspace(0, model.shape.vocab_size - 1, count + 2, device=model.device)[1:-1].long()


def _replace_zeros(spread: Float[Tensor, "L 2"]) -> Float[Tensor, "L 2"]:
    """Zeros replaced by the geometric mean of the others, or by 1 where all are zero."""
    positive = spread[spread > 0]
    usual = positive.log().mean().exp() if len(positive) else torch.ones(())
    return torch.where(spread > 0, spread, usual)
