"""A tenant's requests use at most a share of Python's time while other tenants are active."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from softprompt.server.concurrency import python_time_budget
from softprompt.server.concurrency.event_loop_scheduler import EventLoopScheduler, EventLoopTurn
from softprompt.server.concurrency.fair_executor import FairExecutor
from softprompt.server.concurrency.python_time_budget import BURST_S, MAX_WAIT_S, PythonTimeBudget

SHARE = 0.25


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def budget(clock: list[float]) -> PythonTimeBudget:
    made = PythonTimeBudget(SHARE, clock=lambda: clock[0])
    made.add_request("acme")
    return made


def work_for(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_tenant_that_is_alone_never_waits(budget: PythonTimeBudget) -> None:
    budget.charge_tenant("acme", 60.0)
    assert budget.get_wait("acme") == 0
    budget.add_request("other")  # what was used before is not charged afterwards
    assert budget.get_wait("acme") == 0


def test_beside_others_a_tenant_waits_until_its_share_covers_what_it_used(
    budget: PythonTimeBudget, clock: list[float]
) -> None:
    budget.add_request("other")
    budget.charge_tenant("acme", BURST_S / 2)
    assert budget.get_wait("acme") == 0
    budget.charge_tenant("acme", BURST_S / 2 + 0.1)
    assert budget.get_wait("acme") == pytest.approx(0.1 / SHARE)
    assert budget.get_wait("other") == 0
    clock[0] += 0.1 / SHARE
    assert budget.get_wait("acme") == pytest.approx(0, abs=1e-9)


def test_a_tenant_never_waits_longer_than_the_maximum(budget: PythonTimeBudget) -> None:
    budget.add_request("other")
    for _ in range(3):
        budget.charge_tenant("acme", 60.0)
    assert budget.get_wait("acme") == pytest.approx(MAX_WAIT_S)


def test_a_tenant_no_longer_waits_once_the_others_are_gone(budget: PythonTimeBudget, clock: list[float]) -> None:
    budget.add_request("other")
    budget.charge_tenant("acme", 60.0)
    assert budget.get_wait("acme") > 0
    clock[0] += 11.0
    budget.add_request("acme")
    assert budget.get_wait("acme") == 0


def test_tenants_that_do_not_wait_are_forgotten(
    budget: PythonTimeBudget, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python_time_budget, "MAX_TRACKED_TENANTS", 4)
    budget.add_request("other")
    for number in range(32):
        budget.charge_tenant(f"tenant-{number}", 0.01)
        clock[0] += 1.0
    assert len(budget._free_at) <= 5


async def _return_after_work(seconds: float) -> str:
    work_for(seconds)
    await asyncio.sleep(0.05)  # waiting is not charged
    work_for(seconds)
    return "done"


async def _fail_after_work(seconds: float) -> None:
    work_for(seconds)
    await asyncio.sleep(0)
    raise ValueError("broken")


def test_every_step_of_a_coroutine_is_charged_and_its_waits_are_not(budget: PythonTimeBudget) -> None:
    budget.add_request("other")

    async def run() -> None:
        assert await budget.charge_steps("acme", _return_after_work(0.02)) == "done"
        with pytest.raises(ValueError, match="broken"):
            await budget.charge_steps("acme", _fail_after_work(0.02))

    asyncio.run(run())
    used = SHARE * budget.get_wait("acme") + BURST_S
    assert 0.06 <= used < 0.1


def test_a_cancellation_reaches_the_coroutine(budget: PythonTimeBudget) -> None:
    events: list[str] = []

    async def wait_long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    async def run() -> None:
        task = asyncio.create_task(_await_charged(budget, wait_long()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert events == ["cleaned up"]


async def _await_charged(budget: PythonTimeBudget, coroutine: Coroutine[Any, Any, None]) -> None:
    await budget.charge_steps("acme", coroutine)


def test_the_jobs_of_a_thread_are_charged_to_their_tenants(budget: PythonTimeBudget) -> None:
    budget.add_request("other")
    executor = FairExecutor("test", time_budget=budget)

    async def run(tenant: str, job: Callable[[], None]) -> None:
        await executor.run_in_thread(tenant, job)

    asyncio.run(run("acme", lambda: work_for(0.05)))
    asyncio.run(run("other", lambda: None))
    executor.close()
    assert budget.get_wait("acme") > 0
    assert budget.get_wait("other") == 0


def test_a_tenant_beyond_its_share_waits_for_its_turn_and_the_others_do_not() -> None:
    async def run() -> list[str]:
        scheduler, order = EventLoopScheduler(PythonTimeBudget(SHARE)), list[str]()

        async def work(tenant: str) -> None:
            turn = EventLoopTurn(scheduler, tenant)
            await turn.wait_turn()
            order.append(tenant)
            turn.end_turn()

        await work("other")
        await work("acme")
        scheduler.time_budget.charge_tenant("acme", BURST_S + 0.1 * SHARE)  # waits for a tenth of a second
        started_at = time.monotonic()
        waiting = asyncio.create_task(work("acme"))
        for _ in range(5):
            await work("other")
        assert time.monotonic() - started_at < 0.1
        await waiting
        assert time.monotonic() - started_at >= 0.09
        return order

    assert asyncio.run(asyncio.wait_for(run(), 30)) == ["other", "acme", *["other"] * 5, "acme"]
