"""Read a label off one hidden state with a trained linear layer, as P-tuning v2 does (Liu et al. 2021).

It is the state of the token that stands for the row: a causal model's last, a masked model's blank or else its first,
the last that an encoder-decoder's decoder begins with.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import FrozenModel


class LinearHead(nn.Module):
    """`[H]` to K labels. Starts at zero: every label equally likely, so the first gradient is the data's.

    Attributes:
        paths, nodes: nothing is appended to a row, and one token is read (see `Verbalizer`).
        answer_begins, extra_tokens: it is the last of the row's prompt, as `split` ends it.
    """

    paths: tuple[tuple[int, ...], ...] = ((),)
    nodes: tuple[tuple[int, int], ...] = ((0, 0),)
    answer_begins = -1
    extra_tokens = 0

    def __init__(self, num_labels: int, hidden_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, hidden_size))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def split(self, model: FrozenModel, ids: list[int]) -> tuple[list[int], list[int]]:
        """A row's ids up to the token that stands for it, and behind it."""
        at = model.summary(ids)
        return ids[:at], ids[at:]

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B 1 H"]) -> Float[Tensor, "B K"]:  # noqa: ARG002
        """Log-probabilities of the K labels from the hidden state that stands for each row."""
        return self.scores(states[:, 0]).log_softmax(dim=-1)

    def scores(self, states: Float[Tensor, "R H"]) -> Float[Tensor, "R K"]:
        """What each of the K labels gets for each state, before any softmax."""
        return nn.functional.linear(states.float(), self.weight, self.bias)
