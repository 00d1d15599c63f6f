"""Layers that recompute their activations in the backward pass.

transformers' own switch for gradient checkpointing silently drops `past_key_values`, and with it a prefix.
"""

from __future__ import annotations

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_layers(layers: nn.ModuleList) -> None:
    """Wrap the `forward` of each layer, so that it runs again in the backward pass instead of keeping activations.

    The caches of such a pass are read twice, so they must not grow.
    """
    for layer in layers:
        layer.forward = functools.partial(checkpoint, type(layer).forward.__get__(layer), use_reentrant=False)
