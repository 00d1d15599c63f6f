"""Text embeddings as a module, to which transformers can attach hooks (NEFTune's noise, for example)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from softprompt.model import FrozenModel


class TextEmbeddings(nn.Module):
    """Embedding module that reads the frozen model's table, which is no parameter of this module.

    Unlike the frozen model, the module follows the training mode of the module that contains it.
    """

    def __init__(self, frozen_model: FrozenModel):
        super().__init__()
        # In a tuple, so that nn.Module does not register the base model's parameters.
        self._frozen_model = (frozen_model,)

    @property
    def weight(self) -> Float[Tensor, "V E"]:
        """Embedding table of the base model."""
        weight: Tensor = self._frozen_model[0].network.get_input_embeddings().weight
        return weight

    def forward(self, input_ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T E"]:
        """Embed token ids."""
        return self._frozen_model[0].embed_tokens(input_ids)
