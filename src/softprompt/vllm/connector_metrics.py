"""Passes the plugin's counters from vLLM's processes to its log and its `/metrics`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats

from softprompt.vllm.host_prefix_cache import ConnectorCounters

_COUNTER_HELP = {
    "prompt_loads": "Prompts loaded from the artifact store.",
    "prompt_cache_hits": "Lookups that found their prefix in RAM.",
    "prompt_cache_evictions": "Prefixes evicted from RAM.",
    "prefix_positions_written": "Prefix positions written into the KV cache.",
    "requests_rejected": "Requests rejected by the connector.",
}


@dataclass
class SoftpromptKVConnectorStats(KVConnectorStats):
    """Counts since the last report, by the field names of `ConnectorCounters`."""

    @classmethod
    def from_counter_delta(
        cls, previous: ConnectorCounters, counters: ConnectorCounters
    ) -> SoftpromptKVConnectorStats | None:
        """Return the changes since `previous`, or None if there are none, and update `previous`."""
        current = asdict(counters)
        increases = {name: current[name] - value for name, value in asdict(previous).items() if current[name] != value}
        for name, value in current.items():
            setattr(previous, name, value)
        return cls(data=increases) if increases else None

    def reset(self) -> None:
        """Set all counts to zero."""
        self.data: dict[str, Any] = {}

    def is_empty(self) -> bool:
        """Return True if all counts are zero."""
        return not self.data

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        """Add other counts to these."""
        for name, value in other.data.items():
            self.data[name] = self.data.get(name, 0) + value
        return self

    def reduce(self) -> dict[str, int | float]:
        """Return the counts for the log."""
        return {f"softprompt {name}": value for name, value in self.data.items()}


class SoftpromptPromMetrics(KVConnectorPromMetrics):
    """The Prometheus counters `vllm:softprompt_prompt_loads_total`, …."""

    def __init__(
        self,
        vllm_config: Any,
        metric_types: Any,
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ):
        super().__init__(vllm_config, metric_types, labelnames, per_engine_labelvalues)
        assert set(_COUNTER_HELP) == {field.name for field in fields(ConnectorCounters)}
        self._counters = {
            name: self._counter_cls(name=f"vllm:softprompt_{name}", documentation=description, labelnames=labelnames)
            for name, description in _COUNTER_HELP.items()
        }
        self._per_engine_labelvalues = per_engine_labelvalues
        for engine in per_engine_labelvalues:
            self.observe(dict.fromkeys(_COUNTER_HELP, 0), engine)  # so that they are exported from the start

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Add the counts of an engine."""
        for name, value in transfer_stats_data.items():
            self._counters[name].labels(*self._per_engine_labelvalues[engine_idx]).inc(value)
