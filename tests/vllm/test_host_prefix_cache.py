"""Prefixes are read once, kept as long as there is room, and counted."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Event
from typing import Any

import pytest
import torch
from torch import Tensor

from softprompt.errors import CorruptPrompt
from softprompt.vllm.host_prefix_cache import ConnectorCounters, HostPrefixCache

EACH = 4 * 10  # bytes of a prefix here


class Shop:
    """Where prefixes come from, which remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = Event()
        self.open.set()

    def read(self, content: str) -> Tensor:
        self.open.wait(10)
        self.asked.append(content)
        if content.startswith("damaged"):
            raise CorruptPrompt(f"{content} is not what was written")
        return torch.full((10,), float(content))


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def prefixes(shop: Shop) -> Iterator[HostPrefixCache]:
    made = HostPrefixCache(shop.read, 5 * EACH, ConnectorCounters())
    yield made
    made.close()


def test_a_second_time_nothing_is_read(prefixes: HostPrefixCache, shop: Shop) -> None:
    assert prefixes.get("1") is prefixes.get("1")
    assert shop.asked == ["1"]
    assert prefixes.counters == ConnectorCounters(prompt_loads=1, prompt_cache_hits=1)


def test_a_thousand_go_through_room_for_five(prefixes: HostPrefixCache, shop: Shop) -> None:
    for number in range(1000):
        assert prefixes.get(str(number))[0] == number
        assert len(prefixes) <= 5
        assert prefixes.num_bytes <= 5 * EACH
    assert prefixes.counters == ConnectorCounters(prompt_loads=1000, prompt_cache_evictions=995)
    assert len(shop.asked) == 1000


def test_what_was_used_last_stays(prefixes: HostPrefixCache, shop: Shop) -> None:
    for number in "12345":
        prefixes.get(number)
    prefixes.get("1")
    prefixes.get("6")
    assert "1" in prefixes
    assert "2" not in prefixes


def test_one_that_is_larger_than_the_room_is_kept_alone(shop: Shop) -> None:
    prefixes = HostPrefixCache(shop.read, EACH // 2, ConnectorCounters())
    prefixes.get("1")
    assert "1" in prefixes
    prefixes.get("2")
    assert len(prefixes) == 1
    assert "2" in prefixes
    prefixes.close()


def test_many_who_wait_for_one_have_it_read_once(prefixes: HostPrefixCache, shop: Shop) -> None:
    shop.open.clear()
    waiting = [prefixes.get_future("1") for _ in range(8)]
    assert not any(each.done() for each in waiting)
    shop.open.set()
    assert all(each.result(10) is waiting[0].result(10) for each in waiting)
    assert shop.asked == ["1"]


def test_all_who_wait_for_a_damaged_one_are_told_and_the_next_reads_anew(prefixes: HostPrefixCache, shop: Shop) -> None:
    shop.open.clear()
    waiting = [prefixes.get_future("damaged") for _ in range(3)]
    shop.open.set()
    for each in waiting:
        with pytest.raises(CorruptPrompt):
            each.result(10)
    with pytest.raises(CorruptPrompt):
        prefixes.get("damaged")
    assert shop.asked == ["damaged"] * 2
    assert prefixes.counters == ConnectorCounters()
    assert "damaged" not in prefixes


def test_several_are_read_at_once() -> None:
    together = Barrier(3, timeout=10)

    def read(content: str) -> Tensor:
        together.wait()
        return torch.zeros(1)

    prefixes = HostPrefixCache(read, 100, ConnectorCounters())
    coming: list[Any] = [prefixes.get_future(str(number)) for number in range(3)]
    assert [each.result(10).shape for each in coming] == [(1,)] * 3
    prefixes.close()
