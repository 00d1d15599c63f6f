"""What a run changes, as the loop sees it: a prompt in front of a frozen model, or weights of the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from softprompt.tasks import Objective, Row


class Learnt(NamedTuple):
    """What rows came to whose gradient was added.

    Attributes:
        loss: their mean.
        useful_tokens: neither padding nor virtual.
        weight: what they count, each 1 or its supervised tokens: by how much the mean is of them.
        own_loss: the prompt's own, whose gradient was added too.
    """

    loss: float
    useful_tokens: int
    weight: float
    own_loss: float = 0.0

    @property
    def total_loss(self) -> float:
        """The loss that the gradient is of."""
        return self.loss + self.own_loss


@runtime_checkable
class Learner(Protocol):
    """Parameters that train, and how rows are run with them."""

    def accumulate(self, objective: Objective, rows: Sequence[Row], batch_size: int) -> Learnt:
        """Add the gradient of the rows' mean loss to the parameters."""

    def outputs(self, objective: Objective, rows: Sequence[Row]) -> Float[Tensor, "N C"]:
        """What an evaluation keeps of each row, on the CPU; `Objective.metrics` reads it."""

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters in groups, each with its multiple of the learning rate."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """What there is to keep of it."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
