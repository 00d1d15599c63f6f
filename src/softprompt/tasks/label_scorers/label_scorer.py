"""The interface of label scorers, shared by the verbalizers and the linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from softprompt.model import FrozenModel


@runtime_checkable
class LabelScorer(Protocol):
    """A scorer of labels from hidden states: `Verbalizer`, `ClozeVerbalizer` or `LinearHead`.

    A *path* is a sequence of tokens to append to a prompt. A *node* is a position on a path whose hidden state is read.
    The labels `A`, `B C` and `B D`, for example, part at the end of the prompt (`A` or `B`) and after `B` (`C` or `D`).
    One path `(B,)` reaches both positions, so the nodes are `(0, 0)` and `(0, 1)`: path 0 after 0 and after 1 tokens.

    Attributes:
        first_output_offset: offset of the first state to read from the end of the prompt.
    """

    first_output_offset: int

    @property
    def appended_paths(self) -> Sequence[tuple[int, ...]]:
        """Token sequences to append to each example, one sequence of the batch each."""

    @property
    def output_nodes(self) -> Sequence[tuple[int, int]]:
        """The states to read, as pairs of path index and number of path tokens before the state."""

    @property
    def max_extra_tokens(self) -> int:
        """The largest number of tokens that a path adds to an example."""

    def split_at_answer(self, model: FrozenModel, token_ids: list[int]) -> tuple[list[int], list[int]]:
        """Return the ids before and after the answer."""

    def compute_log_probs(self, model: FrozenModel, hidden_states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the K labels from the hidden states at the N nodes."""
