"""Prefix tuning: keys and values in front of the text in every layer (Li & Liang 2021, arXiv 2101.00190).

`DeepPrompt` trains them directly, as P-tuning v2 does (Liu et al. 2021, arXiv 2110.07602: "deep prompts");
`ReparametrizedPrefix` puts Li & Liang's network in between, which is thrown away once trained.

Both train the change from the start, in units of the spread that each layer's keys and values have over tokens
(`key_value_spread`). AdamW moves every number by about the learning rate, whatever its gradient; in these units that is
as large a move in a layer whose values are 0.03 as in one whose values are 3, and one rate suits every model.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import Ground, Placement, Prefix
from softprompt.prompts.encoded_prompt import silent
from softprompt.prompts.initial import Start
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class DeepPrompt(SoftPrompt):
    """The changes of keys and of values as parameters, `[L, G, P, D]` each, in units of `spread`.

    The `ground` lowest layers stay as they start. With `freeze_sink` the first virtual token's keys stay where they
    start too: models look at their first position when they look at nothing, and moving that sink upsets every head
    (as peft's cartridges do, arXiv 2506.06266).
    """

    start: Tensor
    spread: Tensor
    ground: Tensor

    def __init__(
        self,
        start: Start,
        spread: Float[Tensor, "L 2"],
        placement: Placement,
        head: LinearHead | None = None,
        freeze_sink: bool = False,
        ground: int = 0,
    ):
        super().__init__(head)
        self.register_buffer("ground", start.tensor[:ground].clone())
        self.register_buffer("start", start.tensor[ground:].clone())
        self.register_buffer("spread", spread[ground:, :, None, None, None].clone())
        keys, values = self.start.unbind(dim=1)
        self.keys = nn.Parameter(torch.zeros_like(keys[:, :, int(freeze_sink) :]))
        self.values = nn.Parameter(torch.zeros_like(values))
        self.placement = placement

    @cached_property
    def _ground(self) -> Ground | None:
        """One for all steps: its content is hashed once."""
        return Ground(self.ground) if len(self.ground) else None

    def forward(self) -> Prefix:
        """The prefix, `[L, 2, G, P, D]` with its ground."""
        frozen = self.values.shape[2] - self.keys.shape[2]
        keys = nn.functional.pad(self.keys, (0, 0, frozen, 0))
        change = torch.stack([keys, self.values], dim=1)
        return Prefix(self.start + self.spread * change, self.placement, ground=self._ground)


class ReparametrizedPrefix(SoftPrompt):
    """A small vector a virtual token, `[P, hidden]`, and a network from it to the keys and values of the layers.

    The network's output, in units of `spread`, is added to the start, so that training begins exactly there. It runs
    once a step. The `ground` lowest layers stay as they start.
    """

    start: Tensor
    spread: Tensor
    ground: Tensor

    def __init__(
        self,
        start: Start,
        spread: Float[Tensor, "L 2"],
        tokens: Tensor,
        hidden: int,
        placement: Placement,
        head: LinearHead | None = None,
        ground: int = 0,
    ):
        super().__init__(head)
        self.register_buffer("ground", start.tensor[:ground].clone())
        self.register_buffer("start", start.tensor[ground:].clone())
        self.register_buffer("spread", spread[ground:, :, None, None, None].clone())
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
        return Prefix(self.start + self.spread * change, self.placement, ground=self._ground)
