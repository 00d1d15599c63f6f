"""Prefix tuning: keys and values in front of the text in every layer (Li & Liang 2021, arXiv 2101.00190).

`PrefixTuning` trains keys and values directly, as P-tuning v2 does (Liu et al. 2021, arXiv 2110.07602: "deep prompts").
`ReparameterizedPrefixTuning` trains them through Li & Liang's network, which is discarded after training.

Both train the change from the initial value, in units of the spread that each layer's keys and values have over tokens
(`measure_kv_spread`). AdamW moves every parameter by about the learning rate, however large its gradient. In these
units the move is equally large in a layer whose values are 0.03 and in one whose values are 3, so one learning rate
suits every model.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import FrozenPrefix, KVPrefix, Placement
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.reparameterized_prompt import zero_initialize
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class PrefixPrompt(SoftPrompt):
    """Base class of prefixes that train the change from an initial value, in units of `spread`.

    Args:
        init: initial keys and values, `[L, 2, G, P, D]`.
        spread: spread of a layer's keys and values over tokens.
        placement: placement of the virtual tokens.
        head: see `SoftPrompt`.
        num_frozen_layers: number of lowest layers that keep their initial values.
    """

    start: Tensor
    spread: Tensor
    ground: Tensor

    def __init__(
        self,
        init: InitialValue,
        spread: Float[Tensor, "L 2"],
        placement: Placement,
        head: LinearHead | None = None,
        num_frozen_layers: int = 0,
    ):
        super().__init__(head)
        # The names of the buffers are those of their tensors in checkpoints.
        self.register_buffer("ground", init.tensor[:num_frozen_layers].clone())
        self.register_buffer("start", init.tensor[num_frozen_layers:].clone())
        self.register_buffer("spread", spread[num_frozen_layers:, :, None, None, None].clone())
        self.placement = placement

    @cached_property
    def _frozen_prefix(self) -> FrozenPrefix | None:
        """The frozen layers, one object for all steps, so that its content is hashed once."""
        return FrozenPrefix(self.ground) if len(self.ground) else None

    def _apply_change(self, change: Float[Tensor, "l 2 G P D"]) -> KVPrefix:
        """Return the KV prefix, `[L, 2, G, P, D]`, with a change of the trained layers, in units of `spread`."""
        return KVPrefix(self.start + self.spread * change, self.placement, frozen_prefix=self._frozen_prefix)


class PrefixTuning(PrefixPrompt):
    """A soft prompt whose parameters are the changes of keys and values, `[L, G, P, D]` each, in units of `spread`.

    With `freeze_sink`, the keys of the first virtual token keep their initial values. Every query attends to them if
    nothing else is relevant, and moving this attention sink disturbs every head (as in peft's cartridges, arXiv
    2506.06266).
    """

    def __init__(
        self,
        init: InitialValue,
        spread: Float[Tensor, "L 2"],
        placement: Placement,
        head: LinearHead | None = None,
        freeze_sink: bool = False,
        num_frozen_layers: int = 0,
    ):
        super().__init__(init, spread, placement, head, num_frozen_layers)
        keys, values = self.start.unbind(dim=1)
        self.keys = nn.Parameter(torch.zeros_like(keys[:, :, int(freeze_sink) :]))
        self.values = nn.Parameter(torch.zeros_like(values))

    def forward(self) -> KVPrefix:
        """Return the KV prefix, `[L, 2, G, P, D]`, including the frozen layers."""
        num_frozen_keys = self.values.shape[2] - self.keys.shape[2]
        keys = nn.functional.pad(self.keys, (0, 0, num_frozen_keys, 0))
        return self._apply_change(torch.stack([keys, self.values], dim=1))


class ReparameterizedPrefixTuning(PrefixPrompt):
    """A soft prompt with a vector per virtual token, and a network from these vectors to keys and values.

    The network's output, in units of `spread`, is added to the initial value, so that training starts exactly there.
    The network runs once per step.
    """

    def __init__(
        self,
        init: InitialValue,
        spread: Float[Tensor, "L 2"],
        tokens: Float[Tensor, "P H"],
        hidden_size: int,
        placement: Placement,
        head: LinearHead | None = None,
        num_frozen_layers: int = 0,
    ):
        super().__init__(init, spread, placement, head, num_frozen_layers)
        L, _, G, _, D = self.start.shape
        self.tokens = nn.Parameter(tokens.clone())
        self.encoder = nn.Sequential(
            nn.Linear(tokens.shape[1], hidden_size), nn.Tanh(), zero_initialize(nn.Linear(hidden_size, L * 2 * G * D))
        )

    def forward(self) -> KVPrefix:
        """Return the KV prefix, `[L, 2, G, P, D]`, including the frozen layers."""
        L, _, G, P, D = self.start.shape
        return self._apply_change(self.encoder(self.tokens).view(P, L, 2, G, D).permute(1, 2, 3, 0, 4))
