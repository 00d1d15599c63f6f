"""The cache loads a prefix once for all that wait for it, evicts the least recently used ones, and counts."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Event
from typing import Any

import pytest
import torch
from torch import Tensor

from softprompt.errors import CorruptPrompt
from softprompt.vllm.host_prefix_cache import ConnectorCounters, HostPrefixCache

PREFIX_BYTES = 4 * 10


class RecordingLoader:
    """A loader that records the loaded digests, and waits while `open` is not set."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.open = Event()
        self.open.set()

    def load(self, digest: str) -> Tensor:
        self.open.wait(10)
        self.loaded.append(digest)
        if digest.startswith("corrupt"):
            raise CorruptPrompt(f"{digest} was changed")
        return torch.full((10,), float(digest))


@pytest.fixture
def loader() -> RecordingLoader:
    return RecordingLoader()


@pytest.fixture
def cache(loader: RecordingLoader) -> Iterator[HostPrefixCache]:
    cache = HostPrefixCache(loader.load, 5 * PREFIX_BYTES, ConnectorCounters())
    yield cache
    cache.close()


def test_second_request_for_a_prefix_is_a_cache_hit(cache: HostPrefixCache, loader: RecordingLoader) -> None:
    assert cache.get("1") is cache.get("1")
    assert loader.loaded == ["1"]
    assert cache.counters == ConnectorCounters(prompt_loads=1, prompt_cache_hits=1)


def test_size_limit_holds_for_a_thousand_prefixes(cache: HostPrefixCache, loader: RecordingLoader) -> None:
    for number in range(1000):
        assert cache.get(str(number))[0] == number
        assert len(cache) <= 5
        assert cache.num_bytes <= 5 * PREFIX_BYTES
    assert cache.counters == ConnectorCounters(prompt_loads=1000, prompt_cache_evictions=995)
    assert len(loader.loaded) == 1000


def test_recently_used_prefix_is_not_evicted(cache: HostPrefixCache, loader: RecordingLoader) -> None:
    for number in "12345":
        cache.get(number)
    cache.get("1")
    cache.get("6")
    assert "1" in cache
    assert "2" not in cache


def test_prefix_larger_than_the_limit_is_cached_until_the_next_load(loader: RecordingLoader) -> None:
    cache = HostPrefixCache(loader.load, PREFIX_BYTES // 2, ConnectorCounters())
    cache.get("1")
    assert "1" in cache
    cache.get("2")
    assert len(cache) == 1
    assert "2" in cache
    cache.close()


def test_concurrent_requests_share_one_load(cache: HostPrefixCache, loader: RecordingLoader) -> None:
    loader.open.clear()
    waiting = [cache.get_future("1") for _ in range(8)]
    assert not any(future.done() for future in waiting)
    loader.open.set()
    assert all(future.result(10) is waiting[0].result(10) for future in waiting)
    assert loader.loaded == ["1"]


def test_failed_load_raises_for_all_and_is_not_cached(cache: HostPrefixCache, loader: RecordingLoader) -> None:
    loader.open.clear()
    waiting = [cache.get_future("corrupt") for _ in range(3)]
    loader.open.set()
    for future in waiting:
        with pytest.raises(CorruptPrompt):
            future.result(10)
    with pytest.raises(CorruptPrompt):
        cache.get("corrupt")
    assert loader.loaded == ["corrupt"] * 2
    assert cache.counters == ConnectorCounters()
    assert "corrupt" not in cache


def test_prefixes_load_concurrently() -> None:
    barrier = Barrier(3, timeout=10)

    def load(digest: str) -> Tensor:
        barrier.wait()
        return torch.zeros(1)

    cache = HostPrefixCache(load, 100, ConnectorCounters())
    futures: list[Any] = [cache.get_future(str(number)) for number in range(3)]
    assert [future.result(10).shape for future in futures] == [(1,)] * 3
    cache.close()
