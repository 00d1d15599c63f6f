"""Prefix tuning: keys and values in front of the text in every layer (Li & Liang 2021, arXiv 2101.00190).

`DeepPrompt` trains them directly, as P-tuning v2 does (Liu et al. 2021, arXiv 2110.07602: "deep prompts");
`ReparametrizedPrefix` puts Li & Liang's network in between, which is thrown away once trained.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from softprompt.model import Ground, Placement, Prefix
from softprompt.prompts.encoded_prompt import silent
from softprompt.prompts.initial import Start
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class DeepPrompt(SoftPrompt):
    """Keys and values as parameters, `[L, 2, G, P, D]` in all; of these, the `ground` lowest layers stay as they start.

    With `freeze_sink` the first virtual token's keys stay where they start too: models look at their first position
    when they look at nothing, and moving that sink upsets every head (as peft's cartridges do, arXiv 2506.06266).
    """

    sink: Tensor
    ground: Tensor

    def __init__(
        self,
        start: Start,
        placement: Placement,
        head: LinearHead | None = None,
        freeze_sink: bool = False,
        ground: int = 0,
    ):
        super().__init__(head)
        frozen = int(freeze_sink)
        keys, values = start.tensor[ground:].unbind(dim=1)
        self.register_buffer("ground", start.tensor[:ground].clone())
        self.register_buffer("sink", keys[:, :, :frozen].clone())
        self.keys = nn.Parameter(keys[:, :, frozen:].clone())
        self.values = nn.Parameter(values.clone())
        self.placement = placement

    @cached_property
    def _ground(self) -> Ground | None:
        """One for all steps: its content is hashed once."""
        return Ground(self.ground) if len(self.ground) else None

    def forward(self) -> Prefix:
        """The prefix, `[L, 2, G, P, D]` with its ground."""
        keys = torch.cat([self.sink, self.keys], dim=2)
        return Prefix(torch.stack([keys, self.values], dim=1), self.placement, ground=self._ground)


class ReparametrizedPrefix(SoftPrompt):
    """A small vector a virtual token, `[P, hidden]`, and a network from it to the keys and values of the layers.

    The network's output is added to the start, so that training begins exactly there. It runs once a step. The `ground`
    lowest layers stay as they start.
    """

    start: Tensor
    ground: Tensor

    def __init__(
        self,
        start: Start,
        tokens: Tensor,
        hidden: int,
        placement: Placement,
        head: LinearHead | None = None,
        ground: int = 0,
    ):
        super().__init__(head)
        self.register_buffer("ground", start.tensor[:ground].clone())
        self.register_buffer("start", start.tensor[ground:].clone())
        L, _, G, _, D = self.start.shape
        self.tokens = nn.Parameter(tokens.clone())
        self.encoder = nn.Sequential(
            nn.Linear(tokens.shape[1], hidden), nn.Tanh(), silent(nn.Linear(hidden, L * 2 * G * D))
        )
        self.placement = placement

    @cached_property
    def _ground(self) -> Ground | None:
        """One for all steps: its content is hashed once."""
        return Ground(self.ground) if len(self.ground) else None

    def forward(self) -> Prefix:
        """The prefix, `[L, 2, G, P, D]` with its ground."""
        L, _, G, P, D = self.start.shape
        change = self.encoder(self.tokens).view(P, L, 2, G, D).permute(1, 2, 3, 0, 4)
        return Prefix(self.start + change, self.placement, ground=self._ground)
