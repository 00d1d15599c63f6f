"""The last layer, run for those tokens alone that are read: the others only have to be seen by them.

Every token leaves its keys and values there, as in any layer. What the layer makes of it from then on is for the head,
and most tokens' is never looked at: a classification reads one in a hundred. So a pass of L layers costs hardly more
than one of L - 1, forward and backward.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache

from softprompt.model.cache import Enough

PASTS = ("past_key_values", "layer_past")  # what families call the cache that a layer is given


def places_of(reads: Bool[Tensor, "B T"]) -> Int[Tensor, "B R"] | None:
    """Where rows are read, filled up with other places of theirs; None where that is nowhere, or in most places."""
    if reads.shape[1] == 1:  # a token that is written: nothing is asked of the device for it
        return None
    R = int(reads.sum(dim=1).max())
    return reads.int().argsort(dim=1, descending=True, stable=True)[:, :R] if 0 < 2 * R <= reads.shape[1] else None


class LastLayer(nn.Module):
    """Stands in place of a network's last layer, and is called as it is. Elsewhere than at its places it gives zeros.

    Args:
        layer: the last layer.
        places: the tokens of each row for which it is run, none of them twice.
        in_tuple: it gives its output in a tuple.
    """

    def __init__(self, layer: nn.Module, places: Int[Tensor, "B R"], in_tuple: bool = False):
        super().__init__()
        self.layer, self.places, self.in_tuple = layer, places, in_tuple

    def forward(self, *rest: Any, **named: Any) -> Any:
        """The layer's output."""
        given = self._by_name(*rest, **named)
        states = given["hidden_states"]
        past = next(name for name in PASTS if name in given)
        filled = given[past] = _Filled(given[past])
        with suppress(Enough):
            self.layer(**given)
        mask = self._mask(given["attention_mask"], states.shape[1], filled.num_keys)
        output = self.layer(**{**given, **self._of_places(given), "attention_mask": mask})
        few = output[0] if self.in_tuple else output
        whole = torch.zeros_like(states).scatter(1, self.places.unsqueeze(2).expand_as(few), few)
        return (whole, *output[1:]) if self.in_tuple else whole

    def _by_name(self, *rest: Any, **named: Any) -> dict[str, Any]:
        """What the layer is called with, by the names of its parameters, which networks do not always say."""
        signature = inspect.signature(self.layer.forward)
        bound = signature.bind(*rest, **named)
        bound.apply_defaults()
        found: dict[str, Any] = bound.arguments
        for each in signature.parameters.values():
            if each.kind is each.VAR_KEYWORD:
                found |= found.pop(each.name)
        return found

    def _of_places(self, given: dict[str, Any]) -> dict[str, Any]:
        """What says something of each token, cut to the places."""
        single = ("hidden_states", "position_ids")
        found: dict[str, Any] = {name: self._cut(given[name]) for name in single if given.get(name) is not None}
        if (turns := given.get("position_embeddings")) is not None:
            found["position_embeddings"] = tuple(self._cut(each) for each in turns)
        return found

    def _mask(self, mask: Tensor | None, T: int, S: int) -> Tensor:
        """Which of S keys the places see; transformers leaves a mask out where all T tokens see those up to them."""
        if mask is not None:
            return self._cut(mask.expand(len(self.places), -1, -1, -1).transpose(1, 2)).transpose(1, 2)
        keys = torch.arange(S, device=self.places.device) - (S - T)
        return (keys <= self.places.unsqueeze(2)).unsqueeze(1)

    def _cut(self, whole: Tensor) -> Tensor:
        """What there is at the places of something `[B, T, …]` or `[1, T, …]`."""
        rows = torch.arange(len(self.places), device=whole.device).unsqueeze(1)
        return whole.expand(len(self.places), *whole.shape[1:])[rows, self.places]


class _Filled:
    """Keys and values as a layer is given them, for two runs of it: the first leaves them here, the second has them."""

    def __init__(self, past: Cache | None):
        self.past = past
        self.states: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *rest: Any, **named: Any) -> tuple[Tensor, Tensor]:
        if self.states is None:
            self.states = (keys, values) if self.past is None else self.past.update(keys, values, *rest, **named)
            raise Enough
        return self.states

    @property
    def num_keys(self) -> int:
        """How many there are in a row."""
        assert self.states is not None
        return self.states[0].shape[2]
