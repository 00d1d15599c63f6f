"""A minimal KV connector for trained prefixes in an unmodified vLLM, as a baseline for the plugin.

Runs in vLLM's own environment. A request names its prefix, `kv_transfer_params={"prefix": NAME}`, and begins with as
many placeholders as the prefix has positions; the prefix's keys and values are written to these positions. They are
read once from `FOLDER/NAME.safetensors` (`prefix`, `[L, 2, G, P, D]`), with the folder in `kv_connector_extra_config`.
P is a multiple of vLLM's block size, so vLLM's prefix cache keeps them under the request's `cache_salt`, and they are
written once. Preemption is not supported: the cache must hold all sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorMetadata


@dataclass
class PrefixLoad:
    """The positions of a prefix that a request needs: the last `count`."""

    name: str
    block_ids: list[int]
    num_positions: int


@dataclass
class PrefixLoadMetadata(KVConnectorMetadata):
    """The loads of a step."""

    prefix_loads: list[PrefixLoad] = field(default_factory=list)


class PrefixConnector(KVConnectorBase_V1):
    """The connector; vLLM's scheduler and its worker have one each."""

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any = None):
        super().__init__(vllm_config=vllm_config, role=role, kv_cache_config=kv_cache_config)
        self._block_size: int = vllm_config.cache_config.block_size
        self._folder = Path(vllm_config.kv_transfer_config.kv_connector_extra_config["folder"])
        self._pending: dict[str, tuple[str, int]] = {}
        self._prefixes: dict[str, Tensor] = {}

    def _load_prefix(self, name: str) -> Tensor:
        """Load a prefix, `[L, 2, G, P, D]`."""
        if name not in self._prefixes:
            self._prefixes[name] = load_file(self._folder / f"{name}.safetensors")["prefix"]
        return self._prefixes[name]

    # The scheduler's side.

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        name = (request.kv_transfer_params or {}).get("prefix")
        return (max(self._load_prefix(name).shape[3] - num_computed_tokens, 0) if name else 0), False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:  # noqa: ARG002
        if num_external_tokens > 0:
            self._pending[request.request_id] = (request.kv_transfer_params["prefix"], num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> PrefixLoadMetadata:
        found = PrefixLoadMetadata()
        for new in scheduler_output.scheduled_new_reqs:
            if new.req_id in self._pending:
                name, count = self._pending.pop(new.req_id)
                found.prefix_loads.append(PrefixLoad(name, list(new.block_ids[0]), count))
        return found

    # The worker's side.

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:  # noqa: ARG002
        layers = [
            layer
            for layer in forward_context.no_compile_layers.values()
            if getattr(layer, "kv_cache", None) is not None
        ]
        for load in self._get_connector_metadata().loads:
            prefix = self._load_prefix(load.name)
            P, size = prefix.shape[3], self._block_size
            positions = torch.arange(P - load.count, P)
            slots = torch.tensor(load.blocks)[positions // size] * size + positions % size
            for layer, own in zip(layers, prefix, strict=True):
                keys, values = (each[:, -load.count :].transpose(0, 1).contiguous().to(layer.kv_cache) for each in own)
                layer.impl.do_kv_cache_update(layer, keys, values, layer.kv_cache, slots)

    def wait_for_layer_load(self, layer_name: str) -> None: ...

    def save_kv_layer(self, *arguments: Any, **named: Any) -> None: ...

    def wait_for_save(self) -> None: ...
