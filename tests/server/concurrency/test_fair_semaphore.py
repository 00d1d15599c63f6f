"""The semaphore limits concurrent requests and admits tenants in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from softprompt.server.concurrency.fair_semaphore import FairSemaphore
from softprompt.server.request_errors import QueueFull


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_many_waiting_requests_of_one_tenant_do_not_delay_another_tenant() -> None:
    async def test() -> None:
        limit, order = FairSemaphore(1), list[str]()

        async def use(tenant: str) -> None:
            async with limit.acquire_slots(tenant):
                order.append(tenant)
                await asyncio.sleep(0)

        await asyncio.gather(*map(use, ["many"] * 20), use("other"))
        assert order.index("other") <= 2
        assert len(order) == 21

    run(test())


def test_the_semaphore_never_exceeds_its_capacity() -> None:
    async def test() -> None:
        limit, inside, most = FairSemaphore(3), 0, 0

        async def use() -> None:
            nonlocal inside, most
            async with limit.acquire_slots("acme"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(use() for _ in range(20)))
        assert most == 3

    run(test())


def test_a_cancelled_waiter_takes_no_slot() -> None:
    async def test() -> None:
        limit, done = FairSemaphore(1), list[str]()

        async def use(name: str) -> None:
            async with limit.acquire_slots("acme"):
                done.append(name)

        async with limit.acquire_slots("acme"):
            tasks = [asyncio.create_task(use(name)) for name in "abc"]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
        tasks[1].cancel()  # whose turn has just come
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == ["c"]
        async with limit.acquire_slots("acme"):
            pass

    run(test())


def test_the_number_of_waiters_is_limited() -> None:
    async def test() -> None:
        limit = FairSemaphore(1, max_waiting=2)
        async with limit.acquire_slots("acme"):
            waiting = asyncio.create_task(limit.acquire_slots("acme").__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                await limit.acquire_slots("acme").__aenter__()
            waiting.cancel()

    run(test())


def test_one_tenant_gets_all_slots_except_those_reserved_for_other_tenants() -> None:
    async def test() -> None:
        limit, released, order = FairSemaphore(6, num_reserved=2), asyncio.Event(), list[str]()

        async def use(tenant: str, count: int = 1) -> None:
            async with limit.acquire_slots(tenant, count):
                order.append(tenant)
                await released.wait()

        flood = [asyncio.create_task(use("many")) for _ in range(20)]
        await asyncio.sleep(0)
        assert order == ["many"] * 4
        other = [asyncio.create_task(use("other", 2)), asyncio.create_task(use("other"))]
        await asyncio.sleep(0)
        assert order == ["many"] * 4 + ["other"]
        released.set()
        await asyncio.gather(*flood, *other)
        assert order[5] == "other"  # it has fewest in
        assert len(limit) == 0
        assert (len(limit._held_slots), limit._queue.num_active_tenants) == (0, 0)

    run(test())


def test_idle_tenants_take_no_memory() -> None:
    async def test() -> None:
        limit = FairSemaphore(2)
        for number in range(1000):
            async with limit.acquire_slots(str(number)):
                pass
        assert (len(limit), len(limit._held_slots), limit._queue.num_active_tenants) == (0, 0, 0)

    run(test())


def test_a_request_larger_than_the_capacity_is_admitted_on_its_own() -> None:
    async def test() -> None:
        limit = FairSemaphore(2)
        async with limit.acquire_slots("acme", 5):
            assert len(limit) == 5

    run(test())


def test_waiters_after_a_cancelled_waiter_are_admitted() -> None:
    async def test() -> None:
        limit, done = FairSemaphore(4), list[str]()

        async def use(name: str, count: int) -> None:
            async with limit.acquire_slots("acme", count):
                done.append(name)

        async with limit.acquire_slots("bolt", 2):
            large = asyncio.create_task(use("large", 4))
            await asyncio.sleep(0)
            small = asyncio.create_task(use("small", 1))
            await asyncio.sleep(0)
            assert not done
            large.cancel()
            await asyncio.wait([large])
            await small
        assert done == ["small"]

    run(test())


def test_a_tenant_with_slots_gets_no_more_beyond_the_shared_capacity_while_others_are_active() -> None:
    async def test() -> None:
        limit = FairSemaphore(10, get_shared_capacity=lambda: 3)

        async def use(tenant: str) -> None:
            async with limit.acquire_slots(tenant):
                await asyncio.sleep(60)

        alone = [asyncio.create_task(use("many")) for _ in range(5)]
        await asyncio.sleep(0)
        assert len(limit) == 5  # no other tenant is active
        others = [asyncio.create_task(use(tenant)) for tenant in ("other", "third", "other", "many")]
        await asyncio.sleep(0)
        assert len(limit) == 7  # the first slot of every tenant
        for task in [*alone, *others]:
            task.cancel()
        await asyncio.gather(*alone, *others, return_exceptions=True)
        assert len(limit) == 0

    run(test())


def test_the_shared_capacity_bounds_the_load_of_holders_which_can_become_lower() -> None:
    async def test() -> None:
        limit, may_lower = FairSemaphore(10, get_shared_capacity=lambda: 8), asyncio.Event()

        async def use(load: int) -> None:
            async with limit.acquire_slots("many", load=load) as lease:
                await may_lower.wait()
                lease.set_load(1)
                await asyncio.sleep(60)

        async with limit.acquire_slots("other"):
            pass
        large = [asyncio.create_task(use(6)) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(limit) == 1  # two of them exceed the capacity together
        may_lower.set()
        for _ in range(6):
            await asyncio.sleep(0)
        assert len(limit) == 3  # each lowers its load, and the next one fits
        for task in large:
            task.cancel()
        await asyncio.gather(*large, return_exceptions=True)
        assert len(limit) == 0
        async with limit.acquire_slots("other", load=8), limit.acquire_slots("many", load=8):
            assert len(limit) == 2  # the first slot of every tenant, since no load is left over

    run(test())


def test_a_load_above_the_shared_capacity_is_admitted_for_a_tenant_without_slots() -> None:
    async def test() -> None:
        limit = FairSemaphore(10, get_shared_capacity=lambda: 2)
        async with limit.acquire_slots("other"), limit.acquire_slots("many", load=16):
            assert len(limit) == 2

    run(test())
