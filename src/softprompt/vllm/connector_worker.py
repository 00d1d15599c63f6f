"""A worker's side of the connector: writes prefixes into vLLM's KV cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from torch import Tensor
from vllm.logger import init_logger

from softprompt.errors import SoftPromptError
from softprompt.unicode_text import escape_controls
from softprompt.vllm.connector_metadata import PrefixLoadSpec, SoftpromptConnectorMetadata
from softprompt.vllm.host_prefix_cache import HostPrefixCache
from softprompt.vllm.kv_layout import compute_slot_mapping, extract_layer_index, select_block_ids

logger = init_logger(f"vllm.{__name__}")  # vLLM configures loggers under this name


class SoftpromptConnectorWorker:
    """Writer of prefixes into the KV cache, which reports failed loads. The public methods implement vLLM's hooks.

    Args:
        prefix_cache: the worker's heads of each prefix, `[L, 2, P, g, D]`.
        block_size: number of slots of a block.
    """

    def __init__(self, prefix_cache: HostPrefixCache, block_size: int):
        self._prefix_cache, self._block_size = prefix_cache, block_size
        self._counters = prefix_cache.counters
        self._layers: Sequence[Any] = ()
        self._pending: dict[str, tuple[PrefixLoadSpec, Future[Tensor]]] = {}
        self._rejected: set[str] = set()
        self._invalid_block_ids: set[int] = set()

    def start_load_kv(self, metadata: SoftpromptConnectorMetadata, layers: Mapping[str, Any]) -> None:
        """Start the async loads of a step, and complete its sync loads.

        Args:
            metadata: the loads of the step.
            layers: vLLM's layers by name.
        """
        self._layers = self._layers or _select_attention_layers(layers)
        self._rejected.update(metadata.rejected_request_ids)
        for load in metadata.async_loads:
            self._pending[load.request_id] = load, self._prefix_cache.get_future(load.params.digest)
        for load in metadata.sync_loads:
            if not self._write_prefix(load, self._prefix_cache.get_future(load.params.digest)):
                self._invalid_block_ids.update(
                    select_block_ids(load.first_position, load.params.num_positions, load.block_ids, self._block_size)
                )

    def get_transfer_results(self) -> tuple[set[str], set[str]]:
        """Return the requests whose load has finished, and those of them whose load failed."""
        failed, self._rejected = self._rejected, set()
        done = {request_id: pending for request_id, pending in self._pending.items() if pending[1].done()}
        for request_id, (load, future) in done.items():
            del self._pending[request_id]
            if not self._write_prefix(load, future):
                failed.add(request_id)
        return failed | done.keys(), failed

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Return the blocks of failed sync loads. vLLM ends the requests that use them."""
        invalid, self._invalid_block_ids = self._invalid_block_ids, set()
        return invalid

    def _write_prefix(self, load: PrefixLoadSpec, future: Future[Tensor]) -> bool:
        try:
            prefix = future.result()
        except SoftPromptError as error:
            logger.error("softprompt: request %s failed: %s", _format_request_id(load), error)
            return False
        except Exception:  # a remote store may raise any error; the engine must continue
            logger.exception(
                "softprompt: request %s failed: cannot load its prompt %s", _format_request_id(load), load.params.digest
            )
            return False
        if prefix.shape[2] != load.params.num_positions:
            logger.error(
                "softprompt: request %s failed: its prompt has %d positions, not %d",
                _format_request_id(load),
                prefix.shape[2],
                load.params.num_positions,
            )
            return False
        self._copy_to_cache(prefix[:, :, load.first_position :], load)
        return True

    def _copy_to_cache(self, prefix: Tensor, load: PrefixLoadSpec) -> None:
        slots = compute_slot_mapping(load.first_position, load.params.num_positions, load.block_ids, self._block_size)
        device = self._layers[0].kv_cache.device
        prefix, slots = prefix.to(device, non_blocking=True), slots.to(device, non_blocking=True)
        for layer, (keys, values) in zip(self._layers, prefix, strict=True):
            layer.impl.do_kv_cache_update(layer, keys, values, layer.kv_cache, slots)
        self._counters.prefix_positions_written += len(slots)


def _format_request_id(load: PrefixLoadSpec) -> str:
    """Escape a request id for the log, since clients can choose it."""
    return escape_controls(str(load.request_id), keep="")


def _select_attention_layers(layers: Mapping[str, Any]) -> list[Any]:
    """Return the layers with a KV cache, the lowest first."""
    names = [name for name, layer in layers.items() if getattr(layer, "kv_cache", None) is not None]
    return [layers[name] for name in sorted(names, key=extract_layer_index)]
