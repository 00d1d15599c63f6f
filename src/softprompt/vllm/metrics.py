"""The plugin's counters, on the way from vLLM's processes to its log and its `/metrics`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats

from softprompt.vllm.prefixes import Counts

_TOLD = {
    "read": "Prompts that were read from the store.",
    "found": "Times that a prompt was found in RAM.",
    "evicted": "Prompts that made room in RAM for others.",
    "placed": "Positions of prompts that were put in front of requests.",
    "refused": "Requests that were refused by the engine.",
}


@dataclass
class Stats(KVConnectorStats):
    """What has been counted since it was last asked, by the names of `Counts`."""

    @classmethod
    def since(cls, before: Counts, counts: Counts) -> Stats | None:
        """What has been counted since then, or None; `before` is brought up to date."""
        now = asdict(counts)
        new = {name: now[name] - was for name, was in asdict(before).items() if now[name] != was}
        for name, value in now.items():
            setattr(before, name, value)
        return cls(data=new) if new else None

    def reset(self) -> None:
        """Nothing has been counted."""
        self.data: dict[str, Any] = {}

    def is_empty(self) -> bool:
        """Whether nothing has been."""
        return not self.data

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        """Both together."""
        for name, value in other.data.items():
            self.data[name] = self.data.get(name, 0) + value
        return self

    def reduce(self) -> dict[str, int | float]:
        """For the log."""
        return {f"softprompt {name}": value for name, value in self.data.items()}


class Metrics(KVConnectorPromMetrics):
    """`vllm:softprompt_read_total` and so on, beside vLLM's own."""

    def __init__(self, config: Any, types: Any, labels: list[str], values: dict[int, list[object]]):
        super().__init__(config, types, labels, values)
        assert set(_TOLD) == {each.name for each in fields(Counts)}
        self._counters = {
            name: self._counter_cls(name=f"vllm:softprompt_{name}", documentation=told, labelnames=labels)
            for name, told in _TOLD.items()
        }
        self._values = values
        for engine in values:
            self.observe(dict.fromkeys(_TOLD, 0), engine)  # they are there from the beginning

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Add what an engine has counted."""
        for name, value in transfer_stats_data.items():
            self._counters[name].labels(*self._values[engine_idx]).inc(value)
