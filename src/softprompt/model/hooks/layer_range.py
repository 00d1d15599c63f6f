"""A range of a network's layers, run alone.

Everything outside the layers (positions, masks, scaling of embeddings) is computed as usual. Layers below the range are
replaced by one that returns given hidden states, and the layer above the range ends the pass.
"""

from __future__ import annotations

import copy
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from softprompt.model.hooks.sparse_last_layer import SparseLastLayer


class LayerRangeEnd(Exception):
    """Exception that ends the forward pass after a layer range, with the output of its highest layer."""

    def __init__(self, hidden_states: Tensor):
        super().__init__()
        self.hidden_states = hidden_states


class _ConstantLayer(nn.Module):
    """A replacement of a layer below the range, which returns given hidden states."""

    def __init__(self, hidden_states: Tensor, returns_tuple: bool):
        super().__init__()
        self.output = (hidden_states,) if returns_tuple else hidden_states

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.output


class _StopLayer(nn.Module):
    """A replacement of the layer above the range, which ends the pass."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        raise LayerRangeEnd(hidden_states)


def view_layer_range(
    backbone: nn.Module,
    layers: nn.ModuleList,
    first_layer: int,
    end_layer: int,
    hidden_states: Float[Tensor, "B T H"] | None,
    returns_tuple: bool = False,
    output_positions: Int[Tensor, "B R"] | None = None,
) -> nn.Module:
    """Build a view of a backbone that runs the layers from `first_layer` up to, and excluding, `end_layer`.

    The view shares all weights. If `end_layer` is not the end, the pass ends by raising `LayerRangeEnd`.

    Args:
        backbone: network without its head.
        layers: layers of the backbone, one of its direct children.
        first_layer: lowest layer to run.
        end_layer: layer to stop before.
        hidden_states: output of the layer below `first_layer`; None if there is none.
        returns_tuple: whether layers return their output in a tuple.
        output_positions: `[B, R]`, indices of the tokens to run the highest layer for; None for all.
    """
    name = next(name for name, child in backbone.named_children() if child is layers)
    below = [] if hidden_states is None else [_ConstantLayer(hidden_states, returns_tuple)] * first_layer
    above = [_StopLayer()] * (len(layers) - end_layer)
    span = list(layers[first_layer:end_layer])
    if output_positions is not None:
        span[-1] = SparseLastLayer(span[-1], output_positions, returns_tuple)
    view = copy.copy(backbone)
    view._modules = {**backbone._modules, name: nn.ModuleList([*below, *span, *above])}
    return view
