"""Concurrent requests use the event loop one at a time, and tenants take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from softprompt.server.concurrency.event_loop_scheduler import EventLoopScheduler, EventLoopTurn
from tests.server.live_server import BASE, REVIEWS, Running, prompt_for, running


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


async def order_of(turns: EventLoopScheduler, tenants: list[str], rounds: int = 3) -> tuple[list[str], int]:
    """In which order tenants have their turns, each for some rounds of the loop, and how many had one at once."""
    order, inside, most = list[str](), 0, 0

    async def work(tenant: str) -> None:
        nonlocal inside, most
        turn = EventLoopTurn(turns, tenant)
        await turn.wait_turn()
        order.append(tenant)
        inside += 1
        most = max(most, inside)
        for _ in range(rounds):
            await asyncio.sleep(0)
        inside -= 1
        turn.end_turn()

    await asyncio.gather(*map(work, tenants))
    return order, most


def test_only_one_request_at_a_time_has_a_turn_on_the_event_loop() -> None:
    async def test() -> None:
        order, most = await order_of(EventLoopScheduler(), ["acme"] * 20)
        assert (len(order), most) == (20, 1)

    run(test())


def test_the_first_request_of_a_tenant_overtakes_waiting_requests_of_another() -> None:
    async def test() -> None:
        order, _ = await order_of(EventLoopScheduler(), ["acme"] * 20 + ["other"])
        assert order.index("other") <= 2

    run(test())


def test_a_request_that_waits_for_io_does_not_block_the_turns_of_others() -> None:
    async def test() -> None:
        turns, released = EventLoopScheduler(), asyncio.Event()

        async def hold() -> None:
            await EventLoopTurn(turns, "acme").wait_turn()
            await released.wait()

        holding = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        order, _ = await order_of(turns, ["other"])
        assert order == ["other"]
        released.set()
        await asyncio.gather(*holding)

    run(test())


def test_ending_a_revoked_turn_does_not_end_the_turn_of_another_request() -> None:
    async def test() -> None:
        turns = EventLoopScheduler()
        first, second, third = (EventLoopTurn(turns, "acme") for _ in range(3))
        await first.wait_turn()
        await second.wait_turn()  # the first one lasted too long
        waiting = asyncio.create_task(third.wait_turn())
        await asyncio.sleep(0)
        first.end_turn()
        await asyncio.sleep(0)
        assert not waiting.done()
        second.end_turn()
        second.end_turn()
        await waiting

    run(test())


def test_a_cancelled_request_takes_no_turn() -> None:
    async def test() -> None:
        turns = EventLoopScheduler()
        tasks = [asyncio.create_task(EventLoopTurn(turns, "acme").wait_turn()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await order_of(turns, ["acme"]) == (["acme"], 1)
        assert len(turns) == 0

    run(test())


@pytest.fixture
def front(tmp_path: Path, chatting: FrozenModel) -> Iterator[Running]:
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        store.register_prompt(prompt_for(chatting, REVIEWS, 5).to_prefix(chatting), "reviews")
    with running(tmp_path / "store", chatting) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/classify", {"model": "reviews", "input": "a bore"}),
        ("/v1/completions", {"model": BASE, "prompt": "tea", "max_tokens": 2}),
        ("/v1/chat/completions", {"model": BASE, "messages": [{"role": "user", "content": "tea"}], "max_tokens": 2}),
    ],
)
def test_a_request_waits_for_a_turn_before_it_is_read_and_before_its_response(
    front: Running, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    taken, take = list[str](), EventLoopTurn.wait_turn

    async def recorded(self: EventLoopTurn) -> None:
        taken.append(self._tenant)
        await take(self)

    monkeypatch.setattr(EventLoopTurn, "wait_turn", recorded)
    assert front.post(path, body).status_code == 200
    assert taken == ["default"] * 2
    assert front.get("/health").status_code == 200
    assert taken == ["default"] * 2
    assert front.parts.loop_scheduler._current is None
