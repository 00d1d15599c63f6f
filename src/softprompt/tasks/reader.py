"""How a label is read off a model: what the verbalizers and the linear head have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from softprompt.model import FrozenModel


@runtime_checkable
class Reader(Protocol):
    """How a label is read: `Verbalizer`, `ClozeVerbalizer` or `LinearHead`.

    Attributes:
        answer_begins: where the first state to read stands, counted from the end of a row's prompt.
    """

    answer_begins: int

    @property
    def paths(self) -> Sequence[tuple[int, ...]]:
        """Token sequences to append to a row, one sequence of the batch each."""

    @property
    def nodes(self) -> Sequence[tuple[int, int]]:
        """The states to read: which path, and behind how many of its tokens."""

    @property
    def extra_tokens(self) -> int:
        """How many tokens a row may grow by to be read."""

    def split(self, model: FrozenModel, ids: list[int]) -> tuple[list[int], list[int]]:
        """A row's ids in front of the answer and behind it."""

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels."""
