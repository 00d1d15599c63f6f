"""LRU cache of prefixes in RAM, by digest. Depends on neither vLLM nor the artifact store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from torch import Tensor

MAX_CONCURRENT_LOADS = 4  # number of loader threads


@dataclass
class ConnectorCounters:
    """Counters of the connector.

    Attributes:
        prompt_loads: number of prompts that were loaded from the artifact store.
        prompt_cache_hits: number of lookups that found their prefix in RAM.
        prompt_cache_evictions: number of prefixes that were evicted from RAM.
        prefix_positions_written: number of prefix positions that were written into vLLM's KV cache.
        requests_rejected: number of requests that the connector rejected.
    """

    prompt_loads: int = 0
    prompt_cache_hits: int = 0
    prompt_cache_evictions: int = 0
    prefix_positions_written: int = 0
    requests_rejected: int = 0


class HostPrefixCache:
    """LRU cache of prefixes. Concurrent requests for a prefix share one load.

    `cachetools.LRUCache` does not fit: it rejects a value that alone exceeds the maximum, and evicts without counting.

    Args:
        load_prefix: loads the prefix of a digest; runs on the cache's own threads.
        max_bytes: maximum total size in bytes; a larger prefix is kept until the next one is loaded.
        counters: counters to update.

    Attributes:
        counters: the counters.
        num_bytes: current total size in bytes.
    """

    def __init__(self, load_prefix: Callable[[str], Tensor], max_bytes: int, counters: ConnectorCounters):
        self._load_prefix, self._max_bytes, self.counters, self.num_bytes = load_prefix, max_bytes, counters, 0
        self._entries: OrderedDict[str, Tensor] = OrderedDict()
        self._pending: dict[str, Future[Tensor]] = {}
        self._lock = Lock()
        self._executor = ThreadPoolExecutor(MAX_CONCURRENT_LOADS, "softprompt")

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, digest: str) -> bool:
        return digest in self._entries

    def get(self, digest: str) -> Tensor:
        """Return a prefix, and wait for its load if necessary. Raises what the load raises."""
        return self.get_future(digest).result()

    def get_future(self, digest: str) -> Future[Tensor]:
        """Return a future of a prefix, which is complete if the prefix is cached."""
        with self._lock:
            if (prefix := self._entries.get(digest)) is not None:
                self._entries.move_to_end(digest)
                self.counters.prompt_cache_hits += 1
                done: Future[Tensor] = Future()
                done.set_result(prefix)
                return done
            if digest not in self._pending:
                self._pending[digest] = self._executor.submit(self._load, digest)
            return self._pending[digest]

    def close(self) -> None:
        """Start no more loads, without waiting for running ones."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _load(self, digest: str) -> Tensor:
        try:
            prefix = self._load_prefix(digest)
        except BaseException:
            with self._lock:
                del self._pending[digest]
            raise
        with self._lock:
            del self._pending[digest]
            self._insert(digest, prefix)
        return prefix

    def _insert(self, digest: str, prefix: Tensor) -> None:
        self.counters.prompt_loads += 1
        self._entries[digest] = prefix
        self.num_bytes += prefix.nbytes
        while self.num_bytes > self._max_bytes and len(self._entries) > 1:
            self.num_bytes -= self._entries.popitem(last=False)[1].nbytes
            self.counters.prompt_cache_evictions += 1
