"""How many go on at a time, and who is next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from softprompt.server.failures import Busy
from softprompt.server.fair_limit import FairLimit


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_a_tenant_with_many_waiting_keeps_no_other_waiting() -> None:
    async def test() -> None:
        limit, order = FairLimit(1), list[str]()

        async def use(tenant: str) -> None:
            async with limit.holding(tenant):
                order.append(tenant)
                await asyncio.sleep(0)

        await asyncio.gather(*map(use, ["many"] * 20), use("other"))
        assert order.index("other") <= 2
        assert len(order) == 21

    run(test())


def test_no_more_than_may_are_inside() -> None:
    async def test() -> None:
        limit, inside, most = FairLimit(3), 0, 0

        async def use() -> None:
            nonlocal inside, most
            async with limit.holding("acme"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(use() for _ in range(20)))
        assert most == 3

    run(test())


def test_whoever_gives_up_takes_no_turn() -> None:
    async def test() -> None:
        limit, done = FairLimit(1), list[str]()

        async def use(name: str) -> None:
            async with limit.holding("acme"):
                done.append(name)

        async with limit.holding("acme"):
            tasks = [asyncio.create_task(use(name)) for name in "abc"]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
        tasks[1].cancel()  # whose turn has just come
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == ["c"]
        async with limit.holding("acme"):
            pass

    run(test())


def test_there_is_room_for_so_many_to_wait() -> None:
    async def test() -> None:
        limit = FairLimit(1, waiting=2)
        async with limit.holding("acme"):
            waiting = asyncio.create_task(limit.holding("acme").__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(Busy):
                await limit.holding("acme").__aenter__()
            waiting.cancel()

    run(test())


def test_one_tenant_leaves_a_reserve_for_others_and_has_all_the_rest() -> None:
    async def test() -> None:
        limit, released, order = FairLimit(6, reserve=2), asyncio.Event(), list[str]()

        async def use(tenant: str, count: int = 1) -> None:
            async with limit.holding(tenant, count):
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
        assert (len(limit._inside), limit._queue.num_present) == (0, 0)

    run(test())


def test_of_tenants_that_came_once_nothing_is_kept() -> None:
    async def test() -> None:
        limit = FairLimit(2)
        for number in range(1000):
            async with limit.holding(str(number)):
                pass
        assert (len(limit), len(limit._inside), limit._queue.num_present) == (0, 0, 0)

    run(test())


def test_more_than_may_be_in_is_let_in_alone() -> None:
    async def test() -> None:
        limit = FairLimit(2)
        async with limit.holding("acme", 5):
            assert len(limit) == 5

    run(test())


def test_those_behind_one_that_gives_up_are_let_in() -> None:
    async def test() -> None:
        limit, done = FairLimit(4), list[str]()

        async def use(name: str, count: int) -> None:
            async with limit.holding("acme", count):
                done.append(name)

        async with limit.holding("bolt", 2):
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
