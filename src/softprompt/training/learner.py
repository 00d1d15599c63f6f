"""What a run changes, as the loop sees it: a prompt in front of a frozen model, or weights of the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from softprompt.model import FrozenModel, Payloads
from softprompt.tasks import Objective, Row


@runtime_checkable
class Learner(Protocol):
    """Parameters that train, and how rows are run with them."""

    def accumulate(self, objective: Objective, rows: Sequence[Row], batch_size: int) -> tuple[float, int]:
        """Add the gradient of the rows' mean loss to the parameters; returns that loss and the useful tokens."""

    def payloads(self, model: FrozenModel, rows: Sequence[Row]) -> Payloads:
        """What the rows of an evaluation stand behind, compiled; None where nothing does."""

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters in groups, each with its multiple of the learning rate."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """What there is to keep of it."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
