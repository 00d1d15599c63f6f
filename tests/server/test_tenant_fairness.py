"""A tenant with many classifications does not block other tenants: over HTTP, on the engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from softprompt.server.api.dependencies import TENANT_HEADER
from tests.server.live_server import BASE, REVIEWS, Running, prompt_for, running, until

CLASSIFY = "/v1/classify"
FLOOD: dict[str, Any] = {"model": "reviews", "input": ["the film was great fun"] * 64}
OTHER = {"headers": {TENANT_HEADER: "other"}}


@pytest.fixture
def front(tmp_path: Path, chatting: FrozenModel) -> Iterator[Running]:
    """A server with a classification for two tenants."""
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        for tenant in ("default", "other"):
            store.register_prompt(prompt_for(chatting, REVIEWS, 5).to_prefix(chatting), "reviews", tenant=tenant)
    with running(tmp_path / "store", chatting, max_waiting_requests=16) as server:
        assert server.post(CLASSIFY, FLOOD).status_code == 200  # the prompt is ready
        yield server


def test_one_tenants_classifications_never_fill_the_queue(front: Running) -> None:
    released = threading.Event()
    with ThreadPoolExecutor(24) as pool, ended(released):
        front.parts.backend.worker._enqueue_and_notify(_held(front, released))
        flood = [pool.submit(front.post, CLASSIFY, FLOOD) for _ in range(20)]
        until(lambda: sum(each.done() for each in flood) == 12)  # a half of 16 waits, the others were refused
        texts = pool.submit(front.post, CLASSIFY, {"model": "reviews", "input": ["a bore"]}, **OTHER)
        writes = pool.submit(front.post, "/v1/completions", {"model": BASE, "prompt": "tea", "max_tokens": 2}, **OTHER)
        until(lambda: "other" in [*front.parts.backend._label_batcher._queue.waiting_tenants])
        released.set()
        assert (texts.result().status_code, writes.result().status_code) == (200, 200)
        still = sum(not each.done() for each in flood)
        answers = [each.result() for each in flood]
    assert still >= 6  # the other's turn came long before they were done
    assert sorted(answer.status_code for answer in answers) == [200] * 8 + [429] * 12
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["error"]["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert front.post(CLASSIFY, FLOOD).status_code == 200


def test_tenants_take_turns_in_tokenization(front: Running) -> None:
    """Turning many texts into tokens takes a while, too."""
    released, order = threading.Event(), list[str]()
    desk = front.parts.prompt_renderer
    labelled = desk.render_classification

    def noted(shelved: Any, texts: Any, names: Any) -> Any:
        order.append("other" if len(texts) == 1 else "flood")
        return labelled(shelved, texts, names)

    desk.render_classification = noted  # type: ignore[method-assign]
    with ThreadPoolExecutor(12) as pool, ended(released):
        desk._executor._pool.submit(released.wait)
        flood = [pool.submit(front.post, CLASSIFY, FLOOD) for _ in range(8)]
        until(lambda: len(desk._executor) == 8)
        other = pool.submit(front.post, CLASSIFY, {"model": "reviews", "input": ["a bore"]}, **OTHER)
        until(lambda: len(desk._executor) == 9)
        released.set()
        assert other.result().status_code == 200
        assert {each.result().status_code for each in flood} <= {200, 429}
    assert order.index("other") <= 1


def test_the_limit_of_parallel_sequences_counts_responses_and_texts_instead_of_requests(
    tmp_path: Path, chatting: FrozenModel
) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        store.register_prompt(prompt_for(chatting, REVIEWS, 5).to_prefix(chatting), "reviews")
    with running(tmp_path / "store", chatting, max_parallel_sequences=4) as server:
        asked: dict[str, Any] = {"model": BASE, "prompt": ["tea", "plot"], "max_tokens": 2}
        texts = [{"model": "reviews", "input": ["a bore"] * count} for count in (4, 5)]
        assert [server.post("/v1/completions", {**asked, "n": n}).status_code for n in (2, 3)] == [200, 400]
        assert [server.post(CLASSIFY, body).status_code for body in texts] == [200, 400]
        for path, body in (("/v1/completions", {**asked, "n": 3}), (CLASSIFY, texts[1])):
            assert server.refused(path, body)[1]["code"] == "too_many_sequences"


@contextmanager
def ended(released: threading.Event) -> Iterator[None]:
    """Releases what is held, however a test ends."""
    try:
        yield
    finally:
        released.set()


def _held(front: Running, released: threading.Event) -> Any:
    """Puts work in front of the passes that keeps the model's thread until it is released."""
    from softprompt.server.concurrency.queued_job import QueuedJob

    worker = front.parts.backend.worker
    return lambda: worker._job_queue.put("held", QueuedJob(released.wait))
