"""What a soft prompt is to a model: embeddings, or the keys and values they leave behind.

Using a prompt knows these two payloads and no method by name. It does not know how they came about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from jaxtyping import Float
from torch import Tensor


class Placement(StrEnum):
    """Where the virtual tokens stand in a row."""

    BEFORE = "before"  # in front of everything, BOS included: what peft can express
    AFTER_BOS = "after-bos"  # BOS, then the virtual tokens, then the text
    AFTER_TEXT = "after-text"  # behind the text, in front of the answer


def placeholder(virtual_token: int) -> int:
    """The negative id that stands in a row for virtual token `virtual_token`, counted from 0."""
    return -1 - virtual_token


@dataclass(frozen=True)
class Embeddings:
    """Virtual tokens as embeddings. In front of the text they compile to a `Prefix`; behind it they stay.

    Attributes:
        tensor: `[P, H]`.
        placement: where they stand.
    """

    tensor: Float[Tensor, "P H"]
    placement: Placement = Placement.BEFORE

    @property
    def num_virtual_tokens(self) -> int:
        """P."""
        return self.tensor.shape[0]

    @property
    def compiles(self) -> bool:
        """Whether the virtual tokens stand before the text and so never see it."""
        return self.placement is not Placement.AFTER_TEXT

    def with_tensor(self, tensor: Tensor) -> Embeddings:
        """The same payload around another tensor of the same shape."""
        return replace(self, tensor=tensor)

    @property
    def num_positions(self) -> int:
        """The positions of a row that the virtual tokens take."""
        return self.num_virtual_tokens

    def arrange(self, prompt: list[int]) -> list[int]:
        """A row's prompt ids as they meet this payload: the placeholders of its virtual tokens behind them."""
        return [*prompt, *(placeholder(i) for i in range(self.num_virtual_tokens))]


@dataclass(frozen=True)
class Prefix:
    """Virtual tokens as the keys and values they leave in every layer, keys after the rotary embedding.

    Attributes:
        tensor: `[L, 2, G, P, D]`.
        placement: where they stand; never after the text.
        has_bos: the first position is the BOS token's own, so that rows behind this prefix leave theirs out.
    """

    tensor: Float[Tensor, "L 2 G P D"]
    placement: Placement = Placement.BEFORE
    has_bos: bool = False

    @property
    def num_virtual_tokens(self) -> int:
        """P, without the BOS position."""
        return self.num_positions - self.has_bos

    @property
    def num_positions(self) -> int:
        """The positions in front of the text that this prefix takes, BOS included."""
        return self.tensor.shape[3]

    @property
    def compiles(self) -> bool:
        """Always: it is compiled, but for a missing BOS position."""
        return True

    def arrange(self, prompt: list[int]) -> list[int]:
        """A row's prompt ids as they meet this payload: without the BOS that the prefix already holds."""
        return prompt[1:] if self.has_bos else prompt

    def with_tensor(self, tensor: Tensor) -> Prefix:
        """The same payload around another tensor of the same shape."""
        return replace(self, tensor=tensor)


Payload = Embeddings | Prefix
