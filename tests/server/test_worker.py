"""The thread that runs the model, on a real engine."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import torch

from softprompt.engine import End, Engine, Request, Sampling, Written
from softprompt.errors import SettingError
from softprompt.server.failures import Busy, Draining, Failed
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal
from softprompt.server.worker import Row, Worker
from tests.tiny import tiny_model

ASKED = Request(tuple(range(3, 9)), Sampling(8, ignore_eos=True), "acme")
LONG = Request(ASKED.ids, Sampling(100, ignore_eos=True), "acme")


class Heard:
    """What one row said."""

    def __init__(self) -> None:
        self.news: list[Written | Refusal] = []
        self.over = asyncio.Event()

    def __call__(self, news: Written | Refusal) -> None:
        self.news.append(news)
        if isinstance(news, Refusal) or news.end is not None:
            self.over.set()

    @property
    def tokens(self) -> list[int | None]:
        return [news.token for news in self.news if isinstance(news, Written)]


@asynccontextmanager
async def working(**settings: int) -> AsyncIterator[Worker]:
    worker = Worker(Engine(tiny_model("llama"), **{"slots": 4, "length": 128, **settings}), Metrics())
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def answered(worker: Worker, request: Request = ASKED) -> Heard:
    heard = Heard()
    await worker.begin(request, None, heard)
    await heard.over.wait()
    return heard


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(in_time())


def test_its_thread_alone_divides_calls_of_torch() -> None:
    async def test() -> None:
        worker = Worker(Engine(tiny_model("llama"), slots=4, length=128), Metrics(), threads=2)
        worker.start()
        try:
            assert await worker.between_steps(torch.get_num_threads) == 2
            assert await asyncio.to_thread(torch.get_num_threads) == 1
            assert torch.get_num_threads() == 1
        finally:
            await worker.stop()

    run(test)


def test_rows_are_answered_and_jobs_run_in_between() -> None:
    async def test() -> None:
        async with working() as worker:
            alone = (await answered(worker)).tokens
            threads: list[str] = []
            job = worker.run("acme", lambda: threads.append(threading.current_thread().name))
            several = await asyncio.gather(job, *(answered(worker) for _ in range(6)))
            assert [heard.tokens for heard in several[1:]] == [alone] * 6
            assert len(alone) == 8
            assert threads == ["model"]

    run(test)


def test_a_step_that_fails_fails_its_rows_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with working() as worker:
            expected = (await answered(worker)).tokens
            real, fails = worker.engine._run, True

            def broken(pieces: Any) -> Any:
                nonlocal fails
                if fails and len(pieces) == 3:
                    fails = False
                    raise RuntimeError("no memory")
                return real(pieces)

            monkeypatch.setattr(worker.engine, "_run", broken)
            begun = await asyncio.gather(*(answered(worker) for _ in range(3)))
            assert [type(heard.news[-1]) for heard in begun] == [Failed] * 3
            assert worker.engine.is_idle
            assert (await answered(worker)).tokens == expected

    monkeypatch.setattr(logging.getLogger("softprompt"), "propagate", True)
    with caplog.at_level(logging.ERROR, "softprompt.server.worker"):
        run(test)
    failures = [each for each in caplog.records if "no memory" in (each.exc_text or "")]
    assert len({id(each) for each in failures}) == 1  # it may have gone through several handlers


def test_whoever_closes_a_row_frees_its_slot() -> None:
    async def test() -> None:
        async with working(slots=1) as worker:
            heard, waits = Heard(), Heard()
            row: Row = await worker.begin(LONG, None, heard)
            waiting = await worker.begin(LONG, None, waits)
            waiting.close()
            row.close()
            row.close()
            assert len((await answered(worker)).tokens) == 8
            assert len(heard.tokens) < 100
            for each in (heard, waits):
                last = each.news[-1]
                assert isinstance(last, Written)
                assert last.end is End.CANCELLED

    run(test)


def gauges(worker: Worker) -> tuple[float | None, float | None]:
    """Rows that run and that wait, as Prometheus would read them."""
    found = [worker._metrics.registry.get_sample_value(f"softprompt_{name}") for name in ("running", "waiting")]
    return found[0], found[1]


def test_rows_that_have_all_been_cancelled_are_counted_no_more() -> None:
    async def test() -> None:
        async with working(slots=1) as worker:
            held = threading.Event()
            blocking = asyncio.create_task(worker.run("acme", held.wait))
            rows = [asyncio.create_task(worker.begin(LONG, None, Heard())) for _ in range(5)]
            await asyncio.sleep(0)
            held.set()
            await blocking
            begun = await asyncio.gather(*rows)
            await worker.run("acme", lambda: None)
            await worker.run("acme", lambda: None)  # begins once the turn of the one before is over
            assert gauges(worker) == (1, 4)
            for row in begun:
                row.close()
            await worker.run("acme", lambda: None)
            await worker.run("acme", lambda: None)
            assert worker.engine.is_idle
            assert gauges(worker) == (0, 0)

    run(test)


def test_rows_that_the_servers_end_fails_are_counted_no_more() -> None:
    async def test() -> None:
        async with working(slots=1) as worker:
            for _ in range(3):
                await worker.begin(LONG, None, Heard())
            await worker.stop()
            assert gauges(worker) == (0, 0)

    run(test)


def test_whoever_goes_while_it_is_handed_in_leaves_nothing_behind() -> None:
    async def test() -> None:
        async with working(slots=1) as worker:
            held = threading.Event()
            blocking = asyncio.create_task(worker.run("acme", held.wait))
            begin = asyncio.create_task(worker.begin(LONG, None, Heard()))
            await asyncio.sleep(0)
            begin.cancel()
            held.set()
            await blocking
            with pytest.raises(asyncio.CancelledError):
                await begin
            await worker.run("acme", lambda: None)
            await worker.run("acme", lambda: None)
            assert worker.engine.is_idle

    run(test)


def test_more_than_may_wait_are_too_many() -> None:
    async def test() -> None:
        async with working(slots=1, waiting=1) as worker:
            held = threading.Event()
            blocking = asyncio.create_task(worker.run("acme", held.wait))
            begun = [asyncio.create_task(worker.begin(LONG, None, Heard())) for _ in range(3)]
            await asyncio.sleep(0)
            held.set()
            await blocking
            found = await asyncio.gather(*begun, return_exceptions=True)
            assert [type(each) for each in found].count(Busy) >= 1
            assert [type(each) for each in found].count(Row) >= 1
            for each in found:
                if isinstance(each, Row):
                    each.close()

    run(test)


def test_who_classifies_much_does_not_keep_others_waiting() -> None:
    async def test() -> None:
        async with working() as worker:
            held, done = threading.Event(), list[str]()
            jobs = [asyncio.create_task(worker.run("acme", held.wait))]
            for tenant in ("acme",) * 5 + ("bolt",):
                jobs.append(asyncio.create_task(worker.run(tenant, partial(done.append, tenant))))
            await asyncio.sleep(0)
            held.set()
            await asyncio.gather(*jobs)
            assert done.index("bolt") <= 1

    run(test)


def test_what_takes_no_pass_waits_for_no_turn() -> None:
    async def test() -> None:
        async with working() as worker:
            held, done = threading.Event(), list[str]()
            jobs = [asyncio.create_task(worker.run("acme", held.wait))]
            jobs += [asyncio.create_task(worker.run("acme", partial(done.append, "a pass"))) for _ in range(3)]
            jobs += [asyncio.create_task(worker.between_steps(partial(done.append, "none"))) for _ in range(3)]
            await asyncio.sleep(0)
            held.set()
            await asyncio.gather(*jobs)
            assert done == ["none"] * 3 + ["a pass"] * 3

    run(test)


def test_what_cannot_be_is_said_to_whoever_asked() -> None:
    async def test() -> None:
        async with working() as worker:
            with pytest.raises(SettingError, match="128"):
                await worker.begin(Request(ASKED.ids, Sampling(200)), None, Heard())
            with pytest.raises(ZeroDivisionError):
                await worker.run("acme", lambda: 1 // 0)
            assert len((await answered(worker)).tokens) == 8

    run(test)


def test_stopping_tells_those_who_still_wait() -> None:
    async def test() -> None:
        async with working() as worker:
            heard = Heard()
            await worker.begin(LONG, None, heard)
            await worker.stop()
            await heard.over.wait()
            assert isinstance(heard.news[-1], Draining)
            with pytest.raises(Draining):
                await worker.begin(ASKED, None, Heard())
            assert not worker.is_alive

    run(test)
