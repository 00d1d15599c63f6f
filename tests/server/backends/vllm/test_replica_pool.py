"""Requests are retried when replicas fail or hang, and end with an error where no replica can answer."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from softprompt.model import FrozenModel
from softprompt.server.api.dependencies import TENANT_HEADER
from tests.server.backends.vllm.conftest import Fronting
from tests.server.backends.vllm.fake_vllm import Speaking, Vllm, speaking
from tests.server.live_server import BASE, Running, until

COMPLETE = "/v1/completions"
ASKED: dict[str, Any] = {
    "model": "answers",
    "prompt": "the film",
    "max_tokens": 12,
    "temperature": 0,
    "ignore_eos": True,
}
GROWING = {"regex": "(a?){1000}a{1000}"}  # whose masks take too long
STREAMED: dict[str, Any] = {
    **{name: value for name, value in ASKED.items() if name != "ignore_eos"},
    "extra_body": {"ignore_eos": True},
    "stream": True,
    "logprobs": 0,
}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softprompt.server.backends.vllm.replica_pool.PROBE_INTERVAL_S", 0.05)


@pytest.fixture
def front(two: tuple[Speaking, Speaking], fronting: Fronting) -> Iterator[Running]:
    with fronting(*two, max_num_seqs=16) as server:
        yield server


def used(server: Running) -> set[str]:
    return set(server.parts.backend.replica_pool.healthy_replicas)  # type: ignore[attr-defined]


def of(server: Running, two: tuple[Speaking, Speaking]) -> tuple[Speaking, Speaking]:
    """The replica that has the prompt, and the other one."""
    server.post(COMPLETE, ASKED)
    first, other = two
    return (first, other) if first.vllm.asked else (other, first)


def count(server: Running, name: str, **labels: str) -> float:
    return server.parts.metrics.registry.get_sample_value(f"softprompt_{name}", labels) or 0.0


def test_requests_with_a_prompt_are_routed_to_the_same_replica(front: Running, two: tuple[Speaking, Speaking]) -> None:
    own, other = of(front, two)
    for _ in range(3):
        front.post(COMPLETE, ASKED)
    assert (len(own.vllm.asked), len(other.vllm.asked)) == (4, 0)
    assert count(front, "replica_requests_total", replica=own.url, outcome="success") == 4


def test_load_beyond_a_replicas_share_is_sent_to_another_replica(
    front: Running, two: tuple[Speaking, Speaking]
) -> None:
    own, other = of(front, two)
    own.vllm.hold = other.vllm.hold = 1
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(front.post, COMPLETE, ASKED) for _ in range(20)]
        until(lambda: own.vllm.open + other.vllm.open == 20)
        assert 7 <= other.vllm.open < own.vllm.open <= 13
        assert count(front, "replica_num_seqs", replica=own.url) == own.vllm.open
        own.go_on(), other.go_on()
        assert {answer.result().status_code for answer in answers} == {200}


def test_no_request_is_lost_when_a_replica_dies(front: Running, two: tuple[Speaking, Speaking]) -> None:
    """Requests that have begun are repeated on the other replica."""
    own, other = of(front, two)
    whole = front.post(COMPLETE, ASKED).json()["choices"]
    own.vllm.hold = 5
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(front.post, COMPLETE, ASKED) for _ in range(8)]
        until(lambda: own.vllm.open == 8)
        own.die()
        assert [answer.result().json()["choices"] for answer in answers] == [whole] * 8
    assert used(front) == {other.url}
    assert count(front, "replica_requests_total", replica=own.url, outcome="connection_error") == 8
    assert count(front, "replica_up", replica=own.url) == 0


def test_a_stream_continues_on_another_replica(front: Running, two: tuple[Speaking, Speaking]) -> None:
    own, _ = of(front, two)
    with front.client() as client:
        whole = "".join(chunk.choices[0].text for chunk in client.completions.create(**STREAMED))
        own.vllm.hold = 5
        stream = client.completions.create(**STREAMED)
        chunks = [next(stream) for _ in range(5)]
        own.die()
        chunks += list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole
    assert len(chunks) == 12


def test_a_stream_that_no_other_replica_can_continue_ends_with_an_error(
    two: tuple[Speaking, Speaking], fronting: Fronting
) -> None:
    only = two[0]
    with fronting(only) as server, server.client() as client:
        only.vllm.hold = 3
        stream = client.completions.create(**STREAMED)
        for _ in range(3):
            next(stream)
        only.die()
        with pytest.raises(openai.APIError, match="no other replica could continue it") as caught:
            list(stream)
        assert caught.value.code == "stream_interrupted"
        until(lambda: not used(server))
        assert server.get("/ready").status_code == 503
        assert server.get("/health").status_code == 200
        status, error = server.refused(COMPLETE, ASKED)
        assert (status, error["code"]) == (503, "no_healthy_replica")


def test_a_stream_ends_with_an_error_if_the_other_replica_generates_other_tokens(
    two: tuple[Speaking, Speaking], fronting: Fronting, folder: Path, copies: list[FrozenModel]
) -> None:
    """Replicas that round differently may generate other tokens."""
    strange = copy.deepcopy(copies[3])
    strange.network.get_output_embeddings().weight.data.mul_(-1)
    with speaking(Vllm(strange, folder / "prompts")) as other, fronting(two[0], other) as server:
        own, _ = of(server, (two[0], other))
        own.vllm.hold = 5
        with server.client() as client:
            stream = client.completions.create(**STREAMED)
            for _ in range(5):
                next(stream)
            own.die()
            with pytest.raises(openai.APIError) as caught:
                list(stream)
            assert caught.value.code == "stream_interrupted"


def test_a_replica_that_comes_back_is_used_again(
    front: Running, two: tuple[Speaking, Speaking], folder: Path, copies: list[FrozenModel]
) -> None:
    own, other = of(front, two)
    own.die()
    until(lambda: used(front) == {other.url})
    with speaking(Vllm(copies[3], folder / "prompts"), int(own.url.rpartition(":")[2])) as again:
        until(lambda: used(front) == {own.url, other.url})
        front.post(COMPLETE, ASKED)
        assert len(again.vllm.asked) == 1


def test_a_replica_without_the_plugin_is_not_used(
    front: Running, two: tuple[Speaking, Speaking], caplog: pytest.LogCaptureFixture
) -> None:
    own, other = of(front, two)
    asked = len(own.vllm.asked)
    own.vllm.is_guarded = False
    until(lambda: used(front) == {other.url})
    assert "softprompt's plugin is not active" in caplog.text
    assert front.post(COMPLETE, ASKED).status_code == 200
    assert len(own.vllm.asked) == asked
    own.vllm.is_guarded = True
    until(lambda: used(front) == {own.url, other.url})


def test_a_request_whose_prompt_one_replica_cannot_read_is_retried_on_another(
    front: Running, two: tuple[Speaking, Speaking]
) -> None:
    own, other = of(front, two)
    own.vllm.error = "softprompt: the files of this prompt are damaged"
    assert front.post(COMPLETE, ASKED).status_code == 200
    other.vllm.error = own.vllm.error
    status, error = front.refused(COMPLETE, ASKED)
    assert (status, error["code"]) == (503, "prompt_unavailable")
    assert "damaged" not in error["message"]
    assert used(front) == {own.url, other.url}


def test_an_invalid_request_is_not_retried_on_another_replica(front: Running, two: tuple[Speaking, Speaking]) -> None:
    own, other = of(front, two)
    own.vllm.error = "the grammar is too deep"
    status, error = front.refused(COMPLETE, ASKED)
    assert status == 400
    assert "the grammar is too deep" in error["message"]
    assert not other.vllm.asked


def test_non_finite_logits_on_a_replica_return_400_and_name_the_prompt(
    front: Running, two: tuple[Speaking, Speaking]
) -> None:
    """VLLM cannot serialize the probabilities: the request is not retried, and the replicas stay healthy."""
    own, other = of(front, two)
    own.vllm.error = other.vllm.error = "Out of range float values are not JSON compliant: nan"
    for path, body in ((COMPLETE, ASKED), ("/v1/classify", {"model": "reviews", "input": "the film"})):
        status, error = front.refused(path, body)
        assert (status, error["code"]) == (400, "non_finite_logits")
        assert f"`{body['model']}@1`" in error["message"]
    assert len(used(front)) == 2


def test_a_grammar_that_fails_on_a_replica_ends_only_its_own_response(
    front: Running, two: tuple[Speaking, Speaking]
) -> None:
    """VLLM reports an internal error then: no other replica is asked, and none becomes unhealthy."""
    own, other = of(front, two)
    num_before = len(own.vllm.asked)
    status, error = front.refused(COMPLETE, {**ASKED, "ignore_eos": False, "structured_outputs": GROWING})
    assert (status, error["code"]) == (400, "grammar_failed")
    assert (len(own.vllm.asked), len(other.vllm.asked)) == (num_before + 1, 0)
    assert len(used(front)) == 2
    assert front.post(COMPLETE, ASKED).status_code == 200


def test_a_disconnected_client_ends_its_response(front: Running, two: tuple[Speaking, Speaking]) -> None:
    own, _ = of(front, two)
    own.vllm.hold = 2
    with front.client() as client:
        stream = client.completions.create(**STREAMED)
        next(stream)
        until(lambda: own.vllm.open == 1)
        stream.close()
    until(lambda: own.vllm.open == 0)
    until(lambda: count(front, "replica_num_seqs", replica=own.url) == 0)


def test_a_response_that_exceeds_the_timeout_returns_504_and_ends_on_the_replica(
    two: tuple[Speaking, Speaking], fronting: Fronting
) -> None:
    with fronting(two[0], request_timeout=0.5) as server:
        two[0].vllm.hold = 2
        status, error = server.refused(COMPLETE, ASKED)
        assert (status, error["code"]) == (504, "timeout")
        until(lambda: two[0].vllm.open == 0)


def test_more_requests_than_the_queue_holds_are_rejected(two: tuple[Speaking, Speaking], fronting: Fronting) -> None:
    with fronting(two[0], max_num_seqs=1, max_waiting_requests=2) as server:
        two[0].vllm.hold = 1
        with ThreadPoolExecutor(3) as pool:
            answers = [pool.submit(server.post, COMPLETE, ASKED) for _ in range(2)]
            until(lambda: len(server.parts.backend._streams) == 2)
            status, error = server.refused(COMPLETE, ASKED)
            assert (status, error["code"]) == (429, "queue_full")
            # One tenant never has all the room.
            other = {"headers": {TENANT_HEADER: "other"}}
            answers.append(pool.submit(server.post, COMPLETE, {**ASKED, "model": BASE}, **other))
            until(lambda: two[0].vllm.open == 2)  # the other's is there, and one of the tenant's waits here
            two[0].go_on()
            assert {answer.result().status_code for answer in answers} == {200}


def test_draining_finishes_running_requests(two: tuple[Speaking, Speaking], fronting: Fronting) -> None:
    with ExitStack() as stack, fronting(two[0]) as server:
        pool = stack.enter_context(ThreadPoolExecutor(1))
        two[0].vllm.hold = 1
        answer = pool.submit(server.post, COMPLETE, ASKED)
        until(lambda: two[0].vllm.open == 1)
        server.server.drain()
        status, error = server.refused(COMPLETE, ASKED)
        assert (status, error["code"]) == (503, "shutting_down")
        assert server.get("/ready").status_code == 503
        two[0].go_on()
        assert answer.result().status_code == 200


def test_label_requests_move_to_another_replica_when_one_dies(front: Running, two: tuple[Speaking, Speaking]) -> None:
    asked = {"model": "places", "input": ["great fun", "a bore"]}
    whole = front.post("/v1/classify", asked).json()["data"]
    first = two[0] if two[0].vllm.asked else two[1]
    first.die()
    for found, expected in zip(front.post("/v1/classify", asked).json()["data"], whole, strict=True):
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)


def test_a_silent_replica_becomes_unhealthy(
    front: Running, two: tuple[Speaking, Speaking], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still takes connections, as one does that was stopped or whose machine is out of reach."""
    own, other = of(front, two)
    monkeypatch.setattr("softprompt.server.backends.vllm.replica_client.PROBE_TIMEOUT_S", 0.3)
    own.vllm.hangs = True
    assert front.post(COMPLETE, ASKED).status_code == 200
    assert used(front) == {other.url}
    own.vllm.hangs = False
    until(lambda: used(front) == {own.url, other.url})


def test_reported_cached_tokens_exclude_positions_of_the_prompt(front: Running) -> None:
    """VLLM counts the prompt's positions too."""
    assert front.post(COMPLETE, ASKED).json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
