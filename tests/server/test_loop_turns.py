"""Requests that come at once go on one in each round of the event loop, tenants in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.server.loop_turns import LoopTurns, Turn
from softprompt.store import Store
from tests.server.running import BASE, REVIEWS, Running, prompt_for, running


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


async def order_of(turns: LoopTurns, tenants: list[str], rounds: int = 3) -> tuple[list[str], int]:
    """In which order tenants have their turns, each for some rounds of the loop, and how many had one at once."""
    order, inside, most = list[str](), 0, 0

    async def work(tenant: str) -> None:
        nonlocal inside, most
        turn = Turn(turns, tenant)
        await turn.take()
        order.append(tenant)
        inside += 1
        most = max(most, inside)
        for _ in range(rounds):
            await asyncio.sleep(0)
        inside -= 1
        turn.end()

    await asyncio.gather(*map(work, tenants))
    return order, most


def test_one_request_at_a_time_has_the_turn() -> None:
    async def test() -> None:
        order, most = await order_of(LoopTurns(), ["acme"] * 20)
        assert (len(order), most) == (20, 1)

    run(test())


def test_another_tenants_request_goes_on_before_those_that_came_first() -> None:
    async def test() -> None:
        order, _ = await order_of(LoopTurns(), ["acme"] * 20 + ["other"])
        assert order.index("other") <= 2

    run(test())


def test_whoever_waits_for_something_else_keeps_nobody() -> None:
    async def test() -> None:
        turns, released = LoopTurns(), asyncio.Event()

        async def hold() -> None:
            await Turn(turns, "acme").take()
            await released.wait()

        holding = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        order, _ = await order_of(turns, ["other"])
        assert order == ["other"]
        released.set()
        await asyncio.gather(*holding)

    run(test())


def test_a_turn_that_was_taken_away_ends_no_other() -> None:
    async def test() -> None:
        turns = LoopTurns()
        first, second, third = (Turn(turns, "acme") for _ in range(3))
        await first.take()
        await second.take()  # the first one lasted too long
        waiting = asyncio.create_task(third.take())
        await asyncio.sleep(0)
        first.end()
        await asyncio.sleep(0)
        assert not waiting.done()
        second.end()
        second.end()
        await waiting

    run(test())


def test_whoever_gave_up_takes_no_turn() -> None:
    async def test() -> None:
        turns = LoopTurns()
        tasks = [asyncio.create_task(Turn(turns, "acme").take()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await order_of(turns, ["acme"]) == (["acme"], 1)
        assert len(turns) == 0

    run(test())


@pytest.fixture
def front(tmp_path: Path, chatting: FrozenModel) -> Iterator[Running]:
    with Store.open(tmp_path / "store", create=True) as store:
        store.add(prompt_for(chatting, REVIEWS, 5).compiled(chatting), "reviews")
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
def test_a_request_takes_a_turn_before_it_is_read_and_before_it_is_answered(
    front: Running, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    taken, take = list[str](), Turn.take

    async def recorded(self: Turn) -> None:
        taken.append(self._tenant)
        await take(self)

    monkeypatch.setattr(Turn, "take", recorded)
    assert front.post(path, body).status_code == 200
    assert taken == ["default"] * 2
    assert front.get("/health").status_code == 200
    assert taken == ["default"] * 2
    assert front.parts.turns._current is None
