"""The KV connector that vLLM creates once for its scheduler and once in each worker."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import Any

import vllm
from torch import Tensor
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
)
from vllm.logger import init_logger

from softprompt.errors import SettingError
from softprompt.vllm.compatibility import SUPPORTED_VLLM, check_engine_facts, check_vllm_version
from softprompt.vllm.connector_metadata import SoftpromptConnectorMetadata
from softprompt.vllm.connector_metrics import SoftpromptKVConnectorStats, SoftpromptPromMetrics
from softprompt.vllm.connector_scheduler import SoftpromptConnectorScheduler
from softprompt.vllm.connector_worker import SoftpromptConnectorWorker
from softprompt.vllm.cpu_generators import patch_cpu_model_runner
from softprompt.vllm.host_prefix_cache import ConnectorCounters, HostPrefixCache
from softprompt.vllm.kv_layout import extract_layer_index, get_local_kv_heads, to_cache_layout
from softprompt.vllm.prefix_loader import PrefixLoader
from softprompt.vllm.vllm_config import (
    read_engine_facts,
    read_plugin_config,
    read_position_bytes,
    read_served_model,
)
from softprompt.vllm_protocol import PLUGIN_NAME

logger = init_logger(f"vllm.{__name__}")  # vLLM configures loggers under this name


class SoftpromptConnector(KVConnectorBase_V1):
    """Connector that writes a prompt's keys and values to the positions of a request's placeholders.

    The methods are vLLM's hooks. They delegate to `SoftpromptConnectorScheduler` and `SoftpromptConnectorWorker`.

    Args:
        vllm_config: vLLM's configuration.
        role: scheduler or worker.
        kv_cache_config: layout of vLLM's KV cache.

    Raises:
        SettingError: prompts cannot be served by this version of vLLM, or with its options.
        ModelNotSupported: prompts cannot be served on this model.
    """

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any):
        super().__init__(vllm_config=vllm_config, role=role, kv_cache_config=kv_cache_config)
        check_vllm_version(vllm.__version__)
        check_engine_facts(read_engine_facts(vllm_config, kv_cache_config))
        self._reported = ConnectorCounters()
        cache_bytes = read_plugin_config(vllm_config).cache_bytes
        self._connector_scheduler = SoftpromptConnectorScheduler(cache_bytes // read_position_bytes(kv_cache_config))
        self._num_layers = 0
        self._connector_worker: SoftpromptConnectorWorker | None = None
        self._counters, self._reports_stats = self._connector_scheduler.counters, True
        if role is KVConnectorRole.WORKER:
            self._init_worker()
        else:
            logger.info(
                "softprompt %s in vLLM %s (supported: %s)", version(PLUGIN_NAME), vllm.__version__, SUPPORTED_VLLM
            )

    def _init_worker(self) -> None:
        config = read_plugin_config(self._vllm_config)
        model = read_served_model(self._vllm_config, config)
        spec = self._kv_cache_config.kv_cache_groups[0].kv_cache_spec
        rank, world_size = get_tensor_model_parallel_rank(), self._vllm_config.parallel_config.tensor_parallel_size
        heads = get_local_kv_heads(model.num_kv_heads, rank, world_size)
        if (spec.num_kv_heads, spec.head_size) != (heads.stop - heads.start, model.head_dim):
            raise SettingError(
                f"vLLM's cache has {spec.num_kv_heads} heads of size {spec.head_size} in this worker, but the model "
                f"has {heads.stop - heads.start} of size {model.head_dim}: this layout is not supported"
            )
        loader = PrefixLoader(config.artifact_location, model)

        def load_local_prefix(digest: str) -> Tensor:
            return to_cache_layout(loader.load_prefix(digest).tensor, heads, spec.dtype)

        self._counters, self._reports_stats, self._num_layers = ConnectorCounters(), rank == 0, model.num_layers
        self._prefix_cache = HostPrefixCache(load_local_prefix, config.cache_bytes, self._counters)
        self._connector_worker = SoftpromptConnectorWorker(self._prefix_cache, spec.block_size)
        patch_cpu_model_runner()
        logger.info("softprompt: prompts of %s for %s (%s)", config.artifact_location, model.name, model.fingerprint)

    # The scheduler's side.

    def on_new_request(self, request: Any) -> None:
        """Register a new request."""
        self._connector_scheduler.on_new_request(request)

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        """Return how many positions a request still needs from the connector, and whether it waits for them."""
        return self._connector_scheduler.get_num_new_matched_tokens(request, num_computed_tokens)

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """Plan the load of a request with new blocks, at its start or after a preemption."""
        self._connector_scheduler.update_state_after_alloc(
            request, list(blocks.get_block_ids()[0]), num_external_tokens
        )

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:  # noqa: ARG002
        """Return the loads of a step for the workers."""
        return self._connector_scheduler.build_connector_meta()

    def update_connector_output(self, connector_output: Any) -> None:
        """Record the finished loads of the workers."""
        finished, failed = connector_output.finished_recving or set(), connector_output.failed_recving
        self._connector_scheduler.update_connector_output(finished, failed)

    def request_finished(self, request: Any, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:  # noqa: ARG002
        """Forget a finished request; the second result is the `kv_transfer_params` of its response."""
        is_error = str(request.get_finished_reason()) == "error"
        return False, self._connector_scheduler.request_finished(request, is_error=is_error)

    # A worker's side.

    def register_kv_caches(self, kv_caches: dict[str, Tensor]) -> None:
        """Check the layout of the KV cache.

        Raises:
            SettingError: the layers do not have one KV cache each.
        """
        if sorted(extract_layer_index(name) for name in kv_caches) != list(range(self._num_layers)):
            raise SettingError(
                f"vLLM's cache does not have one entry for each of {self._num_layers} layers, which is not supported: "
                f"{', '.join(kv_caches)}"
            )

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the loads of a step."""
        metadata = self._get_connector_metadata()
        assert self._connector_worker is not None
        assert isinstance(metadata, SoftpromptConnectorMetadata)
        self._connector_worker.start_load_kv(metadata, forward_context.no_compile_layers)

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:  # noqa: ARG002
        """Return the requests whose load has finished, and those of them whose load failed."""
        assert self._connector_worker is not None
        finished, failed = self._connector_worker.get_transfer_results()
        return KVConnectorTransferResults(finished_recving=finished, failed_recving=failed)

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Return the blocks of failed loads."""
        assert self._connector_worker is not None
        return self._connector_worker.get_block_ids_with_load_errors()

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Do nothing: all layers are written before a step begins."""

    def save_kv_layer(self, layer_name: str, kv_layer: Tensor, attn_metadata: Any, **kwargs: Any) -> None:
        """Do nothing: prompts are never saved."""

    def wait_for_save(self) -> None:
        """Do nothing: prompts are never saved."""

    # Both.

    def get_kv_connector_stats(self) -> SoftpromptKVConnectorStats | None:
        """Return the counts since the last call; of the workers that share a model only the first reports them."""
        if not self._reports_stats:
            return None
        return SoftpromptKVConnectorStats.from_counter_delta(self._reported, self._counters)

    @property
    def counters(self) -> ConnectorCounters:
        """The counts since the start."""
        return replace(self._counters)

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> SoftpromptKVConnectorStats:
        """Build the statistics from another process's data."""
        return SoftpromptKVConnectorStats(data=data or {})

    @classmethod
    def build_prom_metrics(
        cls, vllm_config: Any, metric_types: Any, labelnames: list[str], per_engine_labelvalues: dict[int, list[object]]
    ) -> SoftpromptPromMetrics:
        """Build the Prometheus counters."""
        return SoftpromptPromMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)

    def shutdown(self) -> None:
        """Stop the loader threads."""
        if self._connector_worker is not None:
            self._prefix_cache.close()
