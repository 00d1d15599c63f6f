"""Initial values of a distilled prefix, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from softprompt.distillation.context import Context
from softprompt.model import CausalModel
from softprompt.model.rotary import shift_positions
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.spread_cache import get_kv_spread

Initializer = Callable[[CausalModel, Context, int, int], InitialValue]
"""Function of the model, the text, the number of virtual tokens and the seed."""


def take_last_tokens(model: CausalModel, context: Context, num_virtual_tokens: int, seed: int) -> InitialValue:  # noqa: ARG001
    """Return the keys and values of the first token and of the last ones, `[L, 2, G, P, D]`.

    The keys are rotated, so that the distance of each to the inputs stays the same. BOS, if there is one, is not part
    of the value; else the first token is the attention sink, which keeps its position.
    """
    prefix = context.prefix
    num_first = int(not prefix.has_bos)
    last = prefix.tensor[:, :, :, prefix.num_positions - num_virtual_tokens + num_first :]
    shifted = shift_positions(model, last, num_virtual_tokens - context.num_tokens)
    tensor = torch.cat([prefix.tensor[:, :, :, :num_first], shifted], dim=3)
    return InitialValue(tensor.float().cpu(), f"the last {num_virtual_tokens} of {context.num_tokens} tokens")


def draw_random(model: CausalModel, context: Context, num_virtual_tokens: int, seed: int) -> InitialValue:
    """Return normal noise around the mean of the text's keys and values, `[L, 2, G, P, D]`, with their spread."""
    tensor = context.prefix.tensor.float().cpu()
    mean = tensor.mean(dim=3, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    shape = (*tensor.shape[:3], num_virtual_tokens, tensor.shape[4])
    noise = torch.randn(shape, generator=generator) * get_kv_spread(model).cpu()[:, :, None, None, None]
    return InitialValue(mean + noise, "random keys and values")


PREFIX_STARTS: dict[str, Initializer] = {"last-tokens": take_last_tokens, "random": draw_random}
