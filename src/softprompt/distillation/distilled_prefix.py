"""A KV prefix that is distilled: all keys and values are trained, except those of the first token."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import KVPrefix, Placement
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.prefix_tuning import PrefixPrompt


class DistilledPrefix(PrefixPrompt):
    """A KV prefix whose parameters are the changes of keys and values, in units of their spread over tokens.

    The keys and values of the first token of a text keep their values. Every query attends to them if nothing else is
    relevant (an attention sink), and moving them disturbs every head (Cartridges, arXiv 2506.06266). With BOS the first
    token is BOS, which precedes the prefix; without it, the first virtual token is frozen.

    Args:
        init: initial keys and values, `[L, 2, G, P, D]`.
        spread: spread of a layer's keys and values over tokens.
        placement: placement of the virtual tokens.
        value_lr_multiplier: learning rate of values as a multiple of that of keys.
    """

    def __init__(
        self,
        init: InitialValue,
        spread: Float[Tensor, "L 2"],
        placement: Placement,
        value_lr_multiplier: float = 1.0,
    ):
        super().__init__(init, spread, placement)
        self._num_frozen = int(placement is not Placement.AFTER_BOS)
        self._value_lr_multiplier = value_lr_multiplier
        keys, values = self.start[:, :, :, self._num_frozen :].unbind(dim=1)
        self.keys = nn.Parameter(torch.zeros_like(keys))
        self.values = nn.Parameter(torch.zeros_like(values))

    def forward(self) -> KVPrefix:
        """Return the KV prefix, `[L, 2, G, P, D]`."""
        change = torch.stack([self.keys, self.values], dim=1)
        return self._apply_change(nn.functional.pad(change, (0, 0, self._num_frozen, 0)))

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return keys and values, each with its learning-rate multiplier."""
        return [([self.keys], 1.0), ([self.values], self._value_lr_multiplier)]
