"""A model that writes: it reads rows once and then goes on, token by token, in each of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.model.frozen import FrozenModel, Payloads


@dataclass(frozen=True)
class Draft:
    """Rows that are being written.

    Attributes:
        hidden: `[B, H]`, the states that tell each row's next token.
        extended: the draft with these tokens, `[B]`, one behind each row; an older draft is no more once it is.
    """

    hidden: Float[Tensor, "B H"]
    extended: Callable[[Int[Tensor, "B"]], Draft]


class WritingModel(FrozenModel):
    """What causal models and encoder-decoders have in common."""

    @abstractmethod
    def draft(self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], payloads: Payloads) -> Draft:
        """Rows padded behind, each with its compiled payload, read and ready to be gone on with."""
