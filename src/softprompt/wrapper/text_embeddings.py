"""The text's embeddings as a module, which is what transformers puts hooks on (NEFTune's noise, for one)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from softprompt.model import FrozenModel


class TextEmbeddings(nn.Module):
    """Embeds ids with the frozen model's own table, which is no parameter of this module.

    Unlike the frozen model it is in training mode where what it is a part of is.
    """

    def __init__(self, frozen: FrozenModel):
        super().__init__()
        self._frozen = (frozen,)  # in a tuple: nn.Module must not register the base's parameters as its own

    @property
    def weight(self) -> Float[Tensor, "V E"]:
        """The table."""
        weight: Tensor = self._frozen[0].network.get_input_embeddings().weight
        return weight

    def forward(self, input_ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T E"]:
        """The embeddings of a text."""
        return self._frozen[0].embed(input_ids)
