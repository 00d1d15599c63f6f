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

from softprompt.engine import Engine, EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.errors import SettingError
from softprompt.server.backends.engine_generation_handle import EngineGenerationHandle
from softprompt.server.backends.engine_worker import EngineWorker
from softprompt.server.request_errors import InferenceFailed, QueueFull, RequestError, ServerShuttingDown
from softprompt.server.server_metrics import ServerMetrics
from tests.tiny import tiny_model

ASKED = EngineRequest(tuple(range(3, 9)), SamplingParams(8, ignore_eos=True), "acme")
LONG = EngineRequest(ASKED.prompt_token_ids, SamplingParams(100, ignore_eos=True), "acme")


class Heard:
    """What one row said, up to its end."""

    def __init__(self, news: list[TokenOutput | RequestError]) -> None:
        self.news = news

    @property
    def tokens(self) -> list[int | None]:
        return [news.token_id for news in self.news if isinstance(news, TokenOutput)]


async def heard_from(row: EngineGenerationHandle) -> Heard:
    news: list[TokenOutput | RequestError] = []
    try:
        async for output in row:
            news.append(output)
    except RequestError as error:
        news.append(error)
    return Heard(news)


@asynccontextmanager
async def working(**settings: int) -> AsyncIterator[EngineWorker]:
    worker = EngineWorker(
        Engine(tiny_model("llama"), **{"max_num_seqs": 4, "max_model_len": 128, **settings}), ServerMetrics()
    )
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def answered(worker: EngineWorker, request: EngineRequest = ASKED) -> Heard:
    return await heard_from(await worker.submit_request(request, None))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(in_time())


def test_only_the_model_thread_uses_several_torch_threads() -> None:
    async def test() -> None:
        worker = EngineWorker(
            Engine(tiny_model("llama"), max_num_seqs=4, max_model_len=128), ServerMetrics(), num_threads=2
        )
        worker.start()
        try:
            assert await worker.run_between_steps(torch.get_num_threads) == 2
            assert await asyncio.to_thread(torch.get_num_threads) == 1
            assert torch.get_num_threads() == 1
        finally:
            await worker.stop()

    run(test)


def test_jobs_run_in_the_model_thread_without_changing_responses() -> None:
    async def test() -> None:
        async with working() as worker:
            alone = (await answered(worker)).tokens
            threads: list[str] = []
            job = worker.run_job("acme", lambda: threads.append(threading.current_thread().name))
            several = await asyncio.gather(job, *(answered(worker) for _ in range(6)))
            assert [heard.tokens for heard in several[1:]] == [alone] * 6
            assert len(alone) == 8
            assert threads == ["model"]

    run(test)


def test_a_failing_step_fails_only_the_sequences_in_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with working() as worker:
            expected = (await answered(worker)).tokens
            real, fails = worker.engine._run_forward, True

            def broken(plan: Any) -> Any:
                nonlocal fails
                if fails and len(plan.chunks) == 3:
                    fails = False
                    raise RuntimeError("no memory")
                return real(plan)

            monkeypatch.setattr(worker.engine, "_run_forward", broken)
            begun = await asyncio.gather(*(answered(worker) for _ in range(3)))
            assert [type(heard.news[-1]) for heard in begun] == [InferenceFailed] * 3
            assert worker.engine.is_idle
            assert (await answered(worker)).tokens == expected

    monkeypatch.setattr(logging.getLogger("softprompt"), "propagate", True)
    with caplog.at_level(logging.ERROR, "softprompt.server.backends.engine_worker"):
        run(test)
    failures = [each for each in caplog.records if "no memory" in (each.exc_text or "")]
    assert len({id(each) for each in failures}) == 1  # it may have gone through several handlers


def test_closing_a_handle_frees_its_slot() -> None:
    async def test() -> None:
        async with working(max_num_seqs=1) as worker:
            row = await worker.submit_request(LONG, None)
            waiting = await worker.submit_request(LONG, None)
            waiting.close()
            row.close()
            row.close()
            assert len((await answered(worker)).tokens) == 8
            heard, waits = await heard_from(row), await heard_from(waiting)
            assert len(heard.tokens) < 100
            for each in (heard, waits):
                last = each.news[-1]
                assert isinstance(last, TokenOutput)
                assert last.finish_reason is FinishReason.CANCELLED

    run(test)


def gauges(worker: EngineWorker) -> tuple[float | None, float | None]:
    """Rows that run and that wait, as Prometheus would read them."""
    found = [
        worker._metrics.registry.get_sample_value(f"softprompt_{name}")
        for name in ("num_requests_running", "num_requests_waiting")
    ]
    return found[0], found[1]


def test_gauges_do_not_count_cancelled_sequences() -> None:
    async def test() -> None:
        async with working(max_num_seqs=1) as worker:
            held = threading.Event()
            blocking = asyncio.create_task(worker.run_job("acme", held.wait))
            rows = [asyncio.create_task(worker.submit_request(LONG, None)) for _ in range(5)]
            await asyncio.sleep(0)
            held.set()
            await blocking
            begun = await asyncio.gather(*rows)
            await worker.run_job("acme", lambda: None)
            await worker.run_job("acme", lambda: None)  # begins once the turn of the one before is over
            assert gauges(worker) == (1, 4)
            for row in begun:
                row.close()
            await worker.run_job("acme", lambda: None)
            await worker.run_job("acme", lambda: None)
            assert worker.engine.is_idle
            assert gauges(worker) == (0, 0)

    run(test)


def test_gauges_do_not_count_sequences_that_shutdown_failed() -> None:
    async def test() -> None:
        async with working(max_num_seqs=1) as worker:
            for _ in range(3):
                await worker.submit_request(LONG, None)
            await worker.stop()
            assert gauges(worker) == (0, 0)

    run(test)


def test_cancelling_a_submission_leaves_no_sequence_in_the_engine() -> None:
    async def test() -> None:
        async with working(max_num_seqs=1) as worker:
            held = threading.Event()
            blocking = asyncio.create_task(worker.run_job("acme", held.wait))
            begin = asyncio.create_task(worker.submit_request(LONG, None))
            await asyncio.sleep(0)
            begin.cancel()
            held.set()
            await blocking
            with pytest.raises(asyncio.CancelledError):
                await begin
            await worker.run_job("acme", lambda: None)
            await worker.run_job("acme", lambda: None)
            assert worker.engine.is_idle

    run(test)


def test_more_requests_than_the_queue_holds_are_rejected() -> None:
    async def test() -> None:
        async with working(max_num_seqs=1, max_waiting_requests=1) as worker:
            held = threading.Event()
            blocking = asyncio.create_task(worker.run_job("acme", held.wait))
            begun = [asyncio.create_task(worker.submit_request(LONG, None)) for _ in range(3)]
            await asyncio.sleep(0)
            held.set()
            await blocking
            found = await asyncio.gather(*begun, return_exceptions=True)
            assert [type(each) for each in found].count(QueueFull) >= 1
            assert [type(each) for each in found].count(EngineGenerationHandle) >= 1
            for each in found:
                if isinstance(each, EngineGenerationHandle):
                    each.close()

    run(test)


def test_many_classifications_do_not_delay_other_tenants() -> None:
    async def test() -> None:
        async with working() as worker:
            held, done = threading.Event(), list[str]()
            jobs = [asyncio.create_task(worker.run_job("acme", held.wait))]
            for tenant in ("acme",) * 5 + ("bolt",):
                jobs.append(asyncio.create_task(worker.run_job(tenant, partial(done.append, tenant))))
            await asyncio.sleep(0)
            held.set()
            await asyncio.gather(*jobs)
            assert done.index("bolt") <= 1

    run(test)


def test_jobs_between_steps_run_before_queued_forward_passes() -> None:
    async def test() -> None:
        async with working() as worker:
            held, done = threading.Event(), list[str]()
            jobs = [asyncio.create_task(worker.run_job("acme", held.wait))]
            jobs += [asyncio.create_task(worker.run_job("acme", partial(done.append, "a pass"))) for _ in range(3)]
            jobs += [asyncio.create_task(worker.run_between_steps(partial(done.append, "none"))) for _ in range(3)]
            await asyncio.sleep(0)
            held.set()
            await asyncio.gather(*jobs)
            assert done == ["none"] * 3 + ["a pass"] * 3

    run(test)


def test_a_new_sequence_has_its_first_step_before_the_passes_of_another_tenant() -> None:
    async def test() -> None:
        async with working() as worker:
            started, held, computed = threading.Event(), threading.Event(), list[int]()

            def hold_thread() -> None:
                started.set()
                held.wait()

            jobs = [asyncio.create_task(worker.run_job("bolt", hold_thread))]
            await asyncio.to_thread(started.wait)
            row = asyncio.create_task(worker.submit_request(ASKED, None))
            await asyncio.sleep(0)

            def record_progress() -> None:
                computed.append(sum(each.num_computed_tokens for each in worker.engine.scheduler.running))

            jobs.append(asyncio.create_task(worker.run_job("bolt", record_progress)))
            await asyncio.sleep(0)
            held.set()
            await asyncio.gather(*jobs)
            assert computed[0] > 0
            (await row).close()

    run(test)


def test_errors_are_raised_to_the_submitter() -> None:
    async def test() -> None:
        async with working() as worker:
            with pytest.raises(SettingError, match="128"):
                await worker.submit_request(EngineRequest(ASKED.prompt_token_ids, SamplingParams(200)), None)
            with pytest.raises(ZeroDivisionError):
                await worker.run_job("acme", lambda: 1 // 0)
            assert len((await answered(worker)).tokens) == 8

    run(test)


def test_stopping_the_worker_fails_open_requests() -> None:
    async def test() -> None:
        async with working() as worker:
            row = await worker.submit_request(LONG, None)
            await worker.stop()
            assert isinstance((await heard_from(row)).news[-1], ServerShuttingDown)
            with pytest.raises(ServerShuttingDown):
                await worker.submit_request(ASKED, None)
            assert not worker.is_alive

    run(test)
