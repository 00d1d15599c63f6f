"""A tenant with many classifications does not keep others from being served by a gateway, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.server.api.dependencies import TENANT_HEADER
from softprompt.server.backends.vllm.remote_label_scorer import MAX_TEXTS_PER_QUERY
from softprompt.server.backends.vllm.shared_step_limit import INITIAL_LIMIT, count_step_tokens
from softprompt.server.backends.vllm.vllm_backend import MAX_SHARED_TEXTS_PER_REQUEST
from tests.server.backends.vllm.conftest import Fronting
from tests.server.backends.vllm.fake_vllm import Speaking, Vllm
from tests.server.live_server import BASE, REVIEWS, Running, prompt_for, until

CLASSIFY, COMPLETE = "/v1/classify", "/v1/completions"
FLOOD: dict[str, Any] = {"model": "reviews", "input": ["the film was great fun"] * 40}
OTHER = {"headers": {TENANT_HEADER: "other"}}
SLOTS, WAITING = 2, 8


@pytest.fixture
def front(two: tuple[Speaking, Speaking], fronting: Fronting, chatting: FrozenModel) -> Iterator[Running]:
    """A small gateway in front of one replica, with a classification for two tenants."""
    with fronting(two[0], max_num_seqs=SLOTS, max_waiting_requests=WAITING) as server:
        server.store.register_prompt(prompt_for(chatting, REVIEWS, 3).to_prefix(chatting), "reviews", tenant="other")
        yield server


@contextmanager
def hanging(vllm: Vllm) -> Iterator[None]:
    """It says nothing, until a test has it speak again or ends."""
    vllm.hangs = True
    try:
        yield
    finally:
        vllm.hangs = False


def load(front: Running) -> float:
    """Texts that the replica has to do."""
    [url] = front.parts.backend.replica_pool.replicas
    return front.parts.metrics.registry.get_sample_value("softprompt_replica_num_seqs", {"replica": url}) or 0.0


def test_one_tenants_classifications_never_fill_the_queue(front: Running, two: tuple[Speaking, Speaking]) -> None:
    with ThreadPoolExecutor(20) as pool, hanging(two[0].vllm):
        flood = [pool.submit(front.post, CLASSIFY, FLOOD) for _ in range(12)]
        until(lambda: any(each.done() for each in flood))
        assert load(front) <= SLOTS + WAITING / 2
        others = [
            pool.submit(front.post, COMPLETE, {"model": BASE, "prompt": "tea", "max_tokens": 2}, **OTHER),
            pool.submit(front.post, CLASSIFY, {"model": "reviews", "input": ["a bore", "tea"]}, **OTHER),
        ]
        until(lambda: len(front.parts.backend._admission) == 2)
        assert load(front) <= SLOTS + WAITING
        two[0].vllm.hangs = False
        assert [each.result().status_code for each in others] == [200, 200]
        answers = [each.result() for each in flood]
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 429} == {"queue_full"}
    until(lambda: len(front.parts.backend._admission) == 0)


def test_a_tenants_classification_leaves_capacity_for_its_other_requests(
    front: Running, two: tuple[Speaking, Speaking]
) -> None:
    with ThreadPoolExecutor(4) as pool, hanging(two[0].vllm):
        large = pool.submit(front.post, CLASSIFY, {"model": "reviews", "input": ["tea"] * 200})
        until(lambda: load(front) > 0)
        small = pool.submit(front.post, COMPLETE, {"model": BASE, "prompt": "tea", "max_tokens": 2})
        until(lambda: len(front.parts.backend._streams) == 1 or small.done())
        two[0].vllm.hangs = False
        assert (small.result().status_code, large.result().status_code) == (200, 200)


def test_labels_do_not_depend_on_the_number_of_slots(
    front: Running, gateway: Running, two: tuple[Speaking, Speaking]
) -> None:
    asked = {"model": "places", "input": ["great fun", "a bore", "the plot"] * 8}
    for few, many in zip(
        front.post(CLASSIFY, asked).json()["data"], gateway.post(CLASSIFY, asked).json()["data"], strict=True
    ):
        assert few["probabilities"] == pytest.approx(many["probabilities"], abs=1e-4)
    assert max(len(body["prompt"]) for body in two[0].vllm.asked) <= (SLOTS + WAITING) / 2


def test_a_tenant_with_many_requests_leaves_slots_for_another_tenant(
    front: Running, two: tuple[Speaking, Speaking]
) -> None:
    """Waiting requests are admitted by tenant."""
    asked = {"model": BASE, "prompt": "tea", "max_tokens": 2}
    with ThreadPoolExecutor(8) as pool, hanging(two[0].vllm):
        flood = pool.submit(front.post, COMPLETE, {**asked, "n": 5})
        until(lambda: len(front.parts.backend._streams) == 5 and load(front) == SLOTS)
        other = pool.submit(front.post, COMPLETE, asked, **OTHER)
        until(lambda: load(front) == SLOTS + 1)
        assert {tenant: front.parts.backend._semaphore._held_slots[tenant] for tenant in ("default", "other")} == {
            "default": SLOTS,
            "other": 1,
        }
        two[0].vllm.hangs = False
        assert (other.result().status_code, flood.result().status_code) == (200, 200)
    until(lambda: len(front.parts.backend._semaphore) == 0)


def test_classifications_send_few_texts_in_a_request_while_another_tenant_is_active(
    fronting: Fronting, two: tuple[Speaking, Speaking], chatting: FrozenModel
) -> None:
    with fronting(two[0]) as front:
        two[0].vllm.asked.clear()
        assert front.post(CLASSIFY, FLOOD).status_code == 200
        assert max(len(body["prompt"]) for body in two[0].vllm.asked) == MAX_TEXTS_PER_QUERY
        asked = {"model": BASE, "prompt": "tea", "max_tokens": 2}
        assert front.post(COMPLETE, asked, **OTHER).status_code == 200
        two[0].vllm.asked.clear()
        assert front.post(CLASSIFY, FLOOD).status_code == 200
        assert max(len(body["prompt"]) for body in two[0].vllm.asked) == MAX_SHARED_TEXTS_PER_REQUEST


def test_long_texts_count_their_prefill_until_their_first_token(
    fronting: Fronting, two: tuple[Speaking, Speaking]
) -> None:
    asked = {"model": BASE, "prompt": "tea", "max_tokens": 2}
    with fronting(two[0]) as front, ThreadPoolExecutor(8) as pool:
        assert front.post(COMPLETE, asked, **OTHER).status_code == 200
        with hanging(two[0].vllm):
            flood = pool.submit(front.post, COMPLETE, {**asked, "prompt": "the film was great fun " * 4, "n": 4})
            until(lambda: len(front.parts.backend._streams) == 4 and load(front) == 1)
            assert len(front.parts.backend._semaphore) == 1
            two[0].vllm.hangs = False
            assert flood.result().status_code == 200


def test_long_texts_count_their_prefill_again_on_another_replica(
    fronting: Fronting, two: tuple[Speaking, Speaking], chatting: FrozenModel
) -> None:
    text = "the film was great fun"
    asked = {"model": "answers", "prompt": text, "max_tokens": 4, "ignore_eos": True, "n": 3}
    num_text_tokens = count_step_tokens(len(chatting.prompt_tokenizer.encode_text(text)))
    with fronting(*two) as front, ThreadPoolExecutor(1) as pool:
        assert front.post(COMPLETE, asked).status_code == 200
        own, other = two if two[0].vllm.asked else reversed(two)
        taking_over = front.parts.backend.replica_pool.replicas[other.url]
        own.vllm.hold = 2
        with hanging(other.vllm):
            responses = pool.submit(front.post, COMPLETE, asked)
            until(lambda: own.vllm.open == 3 and front.parts.backend._semaphore._load == 3)
            own.die()
            until(lambda: taking_over.load == 3)
            assert taking_over.step_tokens == front.parts.backend._semaphore._load == 3 * num_text_tokens
        assert responses.result().status_code == 200
        until(lambda: front.parts.backend._semaphore._load == 0)


def test_sequences_are_limited_before_steps_are_observed_while_another_tenant_is_active(
    fronting: Fronting, two: tuple[Speaking, Speaking], chatting: FrozenModel
) -> None:
    asked = {"model": BASE, "prompt": "tea", "max_tokens": 2}
    num_allowed = INITIAL_LIMIT // count_step_tokens(len(chatting.prompt_tokenizer.encode_text("tea")))
    with fronting(two[0]) as front, ThreadPoolExecutor(8) as pool:
        assert front.post(COMPLETE, asked, **OTHER).status_code == 200
        with hanging(two[0].vllm):
            flood = pool.submit(front.post, COMPLETE, {**asked, "n": 20})
            until(lambda: len(front.parts.backend._streams) == 20 and load(front) == num_allowed)
            assert len(front.parts.backend._semaphore) == num_allowed
            two[0].vllm.hangs = False
            assert flood.result().status_code == 200
