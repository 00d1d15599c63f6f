"""Runs the last layer only for the output positions.

The layer computes keys and values of all tokens, because the output positions attend to them. The rest of the layer
only produces the input of the head, which most tokens do not need: a classification uses one token in a hundred. So a
pass of L layers costs little more than one of L - 1, forward and backward.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache

from softprompt.model.hooks.cache_layers import StopForward

CACHE_ARGUMENT_NAMES = ("past_key_values", "layer_past")  # parameter names of the layers' cache, by family


def select_output_positions(output_mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B R"] | None:
    """Return each sequence's output positions, padded with others; None for no output positions or over half."""
    if output_mask.shape[1] == 1:  # decoding one token: no synchronization with the device
        return None
    R = int(output_mask.sum(dim=1).max())
    if not 0 < 2 * R <= output_mask.shape[1]:
        return None
    return output_mask.int().argsort(dim=1, descending=True, stable=True)[:, :R]


class SparseLastLayer(nn.Module):
    """Replacement of a network's last layer, with the same interface and zeros at all other positions.

    Args:
        layer: the last layer.
        positions: distinct positions of each sequence that the layer runs for.
        returns_tuple: whether the layer returns its output in a tuple.
    """

    def __init__(self, layer: nn.Module, positions: Int[Tensor, "B R"], returns_tuple: bool = False):
        super().__init__()
        self.layer, self.positions, self.returns_tuple = layer, positions, returns_tuple

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the layer's output."""
        arguments = self._bind_arguments(*args, **kwargs)
        states = arguments["hidden_states"]
        cache_name = next(name for name in CACHE_ARGUMENT_NAMES if name in arguments)
        cache = arguments[cache_name] = _ReplayCache(arguments[cache_name])
        with suppress(StopForward):
            self.layer(**arguments)
        mask = self._slice_mask(arguments["attention_mask"], states.shape[1], cache.num_keys)
        output = self.layer(**{**arguments, **self._slice_arguments(arguments), "attention_mask": mask})
        selected = output[0] if self.returns_tuple else output
        full = torch.zeros_like(states).scatter(1, self.positions.unsqueeze(2).expand_as(selected), selected)
        return (full, *output[1:]) if self.returns_tuple else full

    def _bind_arguments(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments by the layer's parameter names; networks pass some of them by position."""
        signature = inspect.signature(self.layer.forward)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments: dict[str, Any] = bound.arguments
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments |= arguments.pop(parameter.name)
        return arguments

    def _slice_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Select the positions in the arguments that have a value per token."""
        names = [name for name in ("hidden_states", "position_ids") if arguments.get(name) is not None]
        sliced: dict[str, Any] = {name: self._gather_positions(arguments[name]) for name in names}
        if (rotation := arguments.get("position_embeddings")) is not None:
            sliced["position_embeddings"] = tuple(self._gather_positions(tensor) for tensor in rotation)
        return sliced

    def _slice_mask(self, attention_mask: Tensor | None, T: int, S: int) -> Tensor:
        """Return the mask of the positions over S keys. Without a mask of transformers, attention is causal."""
        if attention_mask is not None:
            by_query = attention_mask.expand(len(self.positions), -1, -1, -1).transpose(1, 2)
            return self._gather_positions(by_query).transpose(1, 2)
        keys = torch.arange(S, device=self.positions.device) - (S - T)
        return (keys <= self.positions.unsqueeze(2)).unsqueeze(1)

    def _gather_positions(self, tensor: Tensor) -> Tensor:
        """Select the positions of a tensor `[B, T, …]` or `[1, T, …]`."""
        rows = torch.arange(len(self.positions), device=tensor.device).unsqueeze(1)
        return tensor.expand(len(self.positions), *tensor.shape[1:])[rows, self.positions]


class _ReplayCache:
    """Cache for two runs of a layer: the first run stores its keys and values, the second run reads them."""

    def __init__(self, cache: Cache | None):
        self.cache = cache
        self.keys_values: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.keys_values is None:
            if self.cache is not None:
                keys, values = self.cache.update(keys, values, *args, **kwargs)
            self.keys_values = (keys, values)
            raise StopForward
        return self.keys_values

    @property
    def num_keys(self) -> int:
        """Number of keys per sequence."""
        assert self.keys_values is not None
        return self.keys_values[0].shape[2]
