"""Queries, keys and values that a layer of the model computes for the tokens of a step."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LayerInputs:
    """Inputs of a layer's attention for n tokens.

    Attributes:
        queries: queries of A heads.
        keys: keys of G heads.
        values: values of G heads.
        scale: factor of the attention scores.
        softcap: limit that the scores approach (Gemma 2); None without one.
    """

    queries: Float[Tensor, "A n D"]
    keys: Float[Tensor, "G n D"]
    values: Float[Tensor, "G n D"]
    scale: float
    softcap: float | None

    def select_tokens(self, start: int, stop: int) -> LayerInputs:
        """Return the inputs of the tokens from index `start` to `stop`."""
        tokens = slice(start, stop)
        return LayerInputs(
            self.queries[:, tokens], self.keys[:, tokens], self.values[:, tokens], self.scale, self.softcap
        )
