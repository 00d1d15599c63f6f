"""Read a label off the last token's hidden state with a trained linear layer, as P-tuning v2 does (Liu et al. 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import FrozenModel


class LinearHead(nn.Module):
    """`[H]` to K labels. Starts at zero: every label equally likely, so the first gradient is the data's.

    Attributes:
        paths, nodes: nothing is appended to a row, and its last token is read (see `Verbalizer`).
    """

    paths: tuple[tuple[int, ...], ...] = ((),)
    nodes: tuple[tuple[int, int], ...] = ((0, 0),)

    def __init__(self, num_labels: int, hidden_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, hidden_size))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B 1 H"]) -> Float[Tensor, "B K"]:  # noqa: ARG002
        """Log-probabilities of the K labels from the hidden state of each row's last token."""
        return nn.functional.linear(states[:, 0].float(), self.weight, self.bias).log_softmax(dim=-1)
