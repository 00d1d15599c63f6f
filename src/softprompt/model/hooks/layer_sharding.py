"""Layers whose weights are sharded over the processes of a training."""

from __future__ import annotations

import torch
from torch import nn


def shard_layers(network: nn.Module, layers: nn.ModuleList, device: torch.device) -> None:
    """Shard layers with FSDP (Zhao et al. 2023, arXiv 2304.11277); the rest of the network is replicated.

    Args:
        network: network that contains the layers.
        layers: layers to shard.
        device: device of this process.
    """
    from torch.distributed.device_mesh import init_device_mesh  # needed only for training on several devices
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    torch.nn.Module.to(network, device=device)
