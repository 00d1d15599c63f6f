"""Embeddings behind an encoder that is trained with them and thrown away: residual prompt tuning and P-tuning.

Both papers put a small network between the trained numbers and the embeddings, which makes the loss easier to descend.
Here the network's output is added to its input and its last layer starts at zero, so that a prompt starts exactly where
its initialiser put it; what is saved is the sum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import Embeddings, Placement
from softprompt.prompts.initial import Start
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class EncodedPrompt(SoftPrompt):
    """`[P, H]` parameters and an encoder `[P, H] → [P, H]`; the payload is parameters + encoder(parameters)."""

    def __init__(self, start: Start, encoder: nn.Module, placement: Placement, head: LinearHead | None = None):
        super().__init__(head)
        self.tokens = nn.Parameter(start.tensor.clone())
        self.encoder = encoder
        self.placement = placement

    def forward(self) -> Embeddings:
        """The encoded embeddings, `[P, H]`."""
        return Embeddings(self.tokens + self.encoder(self.tokens), self.placement)


class Lstm(nn.Module):
    """A bidirectional LSTM over the P tokens, then two layers (P-tuning v1, Liu et al. 2021, arXiv 2103.10385)."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Sequential(nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), silent(nn.Linear(2 * hidden, size)))

    def forward(self, tokens: Float[Tensor, "P H"]) -> Float[Tensor, "P H"]:
        """Each token seeing its neighbours."""
        mixed: Tensor = self.head(self.lstm(tokens.unsqueeze(0))[0])
        return mixed.squeeze(0)


def mlp(size: int, hidden: int) -> nn.Module:
    """Three layers, each token by itself (P-tuning v1 as peft has it)."""
    return nn.Sequential(
        nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), silent(nn.Linear(hidden, size))
    )


def residual(size: int, hidden: int) -> nn.Module:
    """A bottleneck of two layers behind a normalisation (Razdaibiedina et al. 2023, arXiv 2305.03937)."""
    return nn.Sequential(nn.LayerNorm(size), nn.Linear(size, hidden), nn.ReLU(), silent(nn.Linear(hidden, size)))


def silent(layer: nn.Linear) -> nn.Linear:
    """A layer that starts by saying nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def seeded(build: Callable[[int, int], nn.Module], size: int, hidden: int, generator: torch.Generator) -> nn.Module:
    """`build(size, hidden)` with its random weights drawn from `generator`, the global source untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return build(size, hidden)
