"""Some of a network's layers, run by themselves: as many forward passes as there are spans give what one would.

Whatever else the network does with a row (positions, masks, what an embedding is scaled by) it does as ever. The layers
below the span hand on what they are given, and the one above it ends the pass.
"""

from __future__ import annotations

import copy
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from softprompt.model.last_layer import LastLayer


class Reached(Exception):
    """Raised where a span ends, with the states that its highest layer gave."""

    def __init__(self, states: Tensor):
        super().__init__()
        self.states = states


class _Below(nn.Module):
    """In place of a layer that is not run: hands on what it was built with, whatever comes in."""

    def __init__(self, states: Tensor, in_tuple: bool):
        super().__init__()
        self.output = (states,) if in_tuple else states

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.output


class _Above(nn.Module):
    """In place of the layer above the span."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        raise Reached(hidden_states)


def partial(
    trunk: nn.Module,
    layers: nn.ModuleList,
    first: int,
    last: int,
    states: Float[Tensor, "B T H"] | None,
    in_tuple: bool = False,
    places: Int[Tensor, "B R"] | None = None,
) -> nn.Module:
    """A view of a network without its head, whose forward pass runs the layers from `first` up to and without `last`.

    It shares all weights. Where `last` is not the end, the pass ends by raising `Reached`.

    Args:
        trunk: the network.
        layers: its layers, a direct child.
        first: the lowest layer to run.
        last: the layer above the highest.
        states: what the layer below `first` gave; None where there is none.
        in_tuple: the network's layers give their output in a tuple.
        places: the tokens of each row for which the highest is run; None for all of them.
    """
    name = next(name for name, child in trunk.named_children() if child is layers)
    below = [] if states is None else [_Below(states, in_tuple)] * first
    above = [_Above()] * (len(layers) - last)
    span = list(layers[first:last])
    if places is not None:
        span[-1] = LastLayer(span[-1], places, in_tuple)
    view = copy.copy(trunk)
    view._modules = {**trunk._modules, name: nn.ModuleList([*below, *span, *above])}
    return view
