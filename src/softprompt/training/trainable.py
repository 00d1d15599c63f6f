"""The interface between the training loop and what it trains: a soft prompt, or weights of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from softprompt.tasks import EncodedExample, Objective


class BatchLoss(NamedTuple):
    """Loss of a batch whose gradient was accumulated.

    Attributes:
        loss: Mean loss of the examples.
        useful_tokens: Number of tokens that are neither padding nor virtual.
        weight: Total weight of the examples in the mean; an example counts 1, or its number of supervised tokens.
        auxiliary_loss: Loss of the prompt itself, whose gradient was accumulated too.
    """

    loss: float
    useful_tokens: int
    weight: float
    auxiliary_loss: float = 0.0

    @property
    def total_loss(self) -> float:
        """Loss that the gradient belongs to."""
        return self.loss + self.auxiliary_loss


@runtime_checkable
class Trainable(Protocol):
    """Interface of parameters that can be trained, and of the model that runs with them."""

    def accumulate_gradients(
        self, objective: Objective, examples: Sequence[EncodedExample], batch_size: int
    ) -> BatchLoss:
        """Add the gradient of the examples' mean loss to the parameters' gradients."""

    def compute_outputs(self, objective: Objective, examples: Sequence[EncodedExample]) -> Float[Tensor, "N C"]:
        """Compute each example's output for `Objective.compute_metrics`, on the CPU."""

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters in groups, each with its learning-rate multiplier."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the parameters and buffers by name."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
