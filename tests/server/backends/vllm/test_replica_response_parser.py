"""Events, choices and errors in the responses of a replica are parsed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from softprompt.engine import FinishReason
from softprompt.server.backends.vllm.replica_response_parser import (
    CompletionDelta,
    NonFiniteLogits,
    OutputToken,
    ReplicaConnectionError,
    ReplicaStatusError,
    iter_sse_events,
    parse_delta,
    parse_error,
    parse_next_tokens,
)

#: As vLLM 0.32.0 streams it.
EVENT = {
    "id": "cmpl-a",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "text": " the",
            "logprobs": {
                "text_offset": [0],
                "token_logprobs": [-1.5],
                "tokens": ["token_id:5"],
                "top_logprobs": [{"token_id:5": -1.5, "token_id:9": -0.5, "token_id:3": -1.0}],
            },
            "finish_reason": None,
            "stop_reason": None,
            "token_ids": [5],
        }
    ],
}


def heard(*parts: bytes) -> list[dict[str, Any]]:
    async def stream() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async def hear() -> list[dict[str, Any]]:
        return [event async for event in iter_sse_events(stream())]

    return asyncio.run(hear())


def said(**changes: Any) -> dict[str, Any]:
    return {"choices": [{**EVENT["choices"][0], **changes}]}  # type: ignore[index]


def test_events_are_parsed_across_chunk_boundaries() -> None:
    whole = f"data: {json.dumps(EVENT)}\n\n: still here\n\ndata: {json.dumps(EVENT)}\r\n\ndata: [DONE]\n\n".encode()
    for size in (1, 7, 100, len(whole)):
        assert heard(*(whole[i : i + size] for i in range(0, len(whole), size))) == [EVENT, EVENT]


@pytest.mark.parametrize("content", [b"", b'data: {"a": 1}\n\n', b"data: {\n\n", b"data: 3\n\n"])
def test_an_incomplete_stream_is_a_connection_error(content: bytes) -> None:
    with pytest.raises(ReplicaConnectionError):
        heard(content)


def test_an_error_event_is_raised() -> None:
    with pytest.raises(ReplicaStatusError, match="Internal server error") as caught:
        heard(b'data: {"error": {"message": "Internal server error", "type": "x", "param": null, "code": 500}}\n\n')
    assert not caught.value.is_client_error


def test_deltas_have_tokens_and_logprobs() -> None:
    assert parse_delta(EVENT, 2) == CompletionDelta((OutputToken(5, -1.5, ((9, -0.5), (3, -1.0))),), None)
    assert parse_delta(EVENT, 0) == CompletionDelta((OutputToken(5, -1.5),), None)
    assert parse_delta(said(logprobs=None, token_ids=[5, 6], finish_reason="length"), None) == CompletionDelta(
        (OutputToken(5), OutputToken(6)), FinishReason.LENGTH
    )
    assert parse_delta({"choices": [], "usage": {}}, None) is None


@pytest.mark.parametrize(
    "changes", [{"finish_reason": "abort"}, {"token_ids": ["a"]}, {"logprobs": None}, {"token_ids": [5, 6]}]
)
def test_malformed_responses_are_connection_errors(changes: dict[str, Any]) -> None:
    with pytest.raises(ReplicaConnectionError):
        parse_delta(said(**changes), 2)


def test_next_tokens_of_several_sequences_are_in_the_order_of_their_indices() -> None:
    choices = [
        {**said()["choices"][0], "index": i, "logprobs": {"top_logprobs": [{f"token_id:{i}": -1.0}]}} for i in (1, 0)
    ]
    assert parse_next_tokens({"choices": choices}, 2) == [{0: -1.0}, {1: -1.0}]
    for wrong in ({"choices": choices[:1]}, {}, {"choices": [{"index": 0}]}):
        with pytest.raises(ReplicaConnectionError):
            parse_next_tokens(wrong, 2)


@pytest.mark.parametrize(
    ("status", "body", "is_about_request", "is_ours"),
    [
        (400, {"error": {"message": "the grammar is none", "code": 400}}, True, False),
        (400, {"error": {"message": "softprompt: no such prompt", "code": 400}}, False, True),
        (500, {"error": {"message": "softprompt: its file is gone", "code": 500}}, False, True),
        (500, None, False, False),
        (401, {"error": "Unauthorized"}, False, False),
        (404, {"error": {"message": "no such model", "code": 404}}, False, False),
    ],
)
def test_errors_are_attributed_to_the_request_or_the_plugin(
    status: int, body: Any, is_about_request: bool, is_ours: bool
) -> None:
    error = parse_error(status, body)
    assert (error.is_client_error, error.is_from_plugin) == (is_about_request, is_ours)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_null_and_non_finite_logprobs_are_an_overflow_and_not_a_connection_error(value: float | None) -> None:
    """VLLM writes NaN as null in a stream."""
    top = [{"token_id:5": value, "token_id:9": value}]
    event = said(logprobs={"token_logprobs": [value], "top_logprobs": top})
    with pytest.raises(NonFiniteLogits):
        parse_delta(event, 2)
    assert parse_delta(event, None) == CompletionDelta((OutputToken(5),), None)
    answer = {
        "choices": [{"index": 0, "logprobs": {"top_logprobs": [{"token_id:5": None, "token_id:9": float("nan")}]}}]
    }
    assert parse_next_tokens(answer, 1) == [{}]
