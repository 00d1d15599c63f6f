"""A gateway with vLLM returns the responses of the engine, and rejects what vLLM does not support."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from softprompt.model import FrozenModel
from tests.server.backends.vllm.fake_vllm import Speaking
from tests.server.live_server import ANSWERS, BASE, Running, prompt_for, until

CHAT, COMPLETE, CLASSIFY = "/v1/chat/completions", "/v1/completions", "/v1/classify"
SAID = [{"role": "user", "content": "the film was great"}]
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": False}

#: What is asked of both.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "base": (COMPLETE, {"model": BASE, "prompt": "the film was", "max_tokens": 12}),
    "tokens": (COMPLETE, {"model": BASE, "prompt": [[3, 4, 5], [9, 8]], "max_tokens": 8}),
    "prompt": (COMPLETE, {"model": "answers", "prompt": ["the film", "a bore"], "n": 2, "max_tokens": 9}),
    "fields": (COMPLETE, {"model": "pairs", "prompt": "", "fields": {"name": "Aro", "food": "fish"}, "max_tokens": 6}),
    "chat": (CHAT, {"model": "chat", "messages": SAID, "max_tokens": 12}),
    "answer": (CHAT, {"model": "answers", "messages": SAID, "max_tokens": 12}),
    "base chat": (CHAT, {"model": BASE, "messages": SAID, "max_tokens": 12}),
    "as long as there is room": (CHAT, {"model": "chat", "messages": SAID}),
    "drawn": (
        COMPLETE,
        {"model": "answers", "prompt": "the film", "n": 3, "temperature": 1.3, "seed": 5, "top_p": 0.9},
    ),
    "penalties": (
        COMPLETE,
        {
            "model": "answers",
            "prompt": "the film",
            "max_tokens": 12,
            "presence_penalty": 1.5,
            "frequency_penalty": 0.5,
            "logit_bias": {"7": 3, "9": -100},
        },
    ),
    "stop": (COMPLETE, {"model": BASE, "prompt": "the film was", "max_tokens": 30, "stop": ["e", "film"]}),
    "past the end": (COMPLETE, {"model": BASE, "prompt": "the film", "max_tokens": 30, "ignore_eos": True}),
    "logprobs": (COMPLETE, {"model": "answers", "prompt": "the film", "max_tokens": 6, "logprobs": 4}),
    "own logprobs": (COMPLETE, {"model": "answers", "prompt": "the film", "max_tokens": 6, "logprobs": 0}),
    "chat's logprobs": (
        CHAT,
        {"model": "chat", "messages": SAID, "max_tokens": 5, "logprobs": True, "top_logprobs": 2},
    ),
    "regex": (COMPLETE, {"model": "answers", "prompt": "a", "structured_outputs": {"regex": "[ab]{3,5}"}}),
    "choice": (COMPLETE, {"model": "answers", "prompt": "a", "structured_outputs": {"choice": ["a bore", "great"]}}),
    "schema": (
        CHAT,
        {
            "model": "chat",
            "messages": SAID,
            "max_tokens": 40,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        },
    ),
    "labels": (CLASSIFY, {"model": "reviews", "input": ["great fun", "a bore", "the plot"]}),
    "labels that part twice": (CLASSIFY, {"model": "places", "input": ["great fun", "a bore"] * 10}),
    "too long": (COMPLETE, {"model": "answers", "prompt": "the film " * 60, "max_tokens": 200}),
    "a tenth too long": (COMPLETE, {"model": "answers", "prompt": [*["tea"] * 9, "the film " * 60], "max_tokens": 40}),
    "one of many too long": (CLASSIFY, {"model": "reviews", "input": ["tea", "the film " * 60, "a bore"]}),
    "one of many without its field": (CLASSIFY, {"model": "reviews", "input": ["tea", {"words": "a"}]}),
    "no such token in one of many": (COMPLETE, {"model": BASE, "prompt": [[3, 4], [5, 384]]}),
    "a chat too long": (CHAT, {"model": "chat", "messages": [{"role": "user", "content": "the film " * 60}]}),
    "no such model": (COMPLETE, {"model": "nobody", "prompt": "the film"}),
    "no labels": (CLASSIFY, {"model": "answers", "input": "the film"}),
    "no such schema": (COMPLETE, {"model": BASE, "prompt": "a", "structured_outputs": {"regex": "("}}),
    "unknown": (COMPLETE, {"model": BASE, "prompt": "a", "prompt_embeds": "AAAA"}),
}
VARIES = ("id", "created", "prompt_tokens_details")  # the last one: who has read what before


def close(one: Any, other: Any) -> bool:
    """Whether two answers say the same; numbers may be rounded."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(close(one[key], other[key]) for key in one if key not in VARIES)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=1e-4)
    return bool(one == other)


@pytest.mark.parametrize("name", ASKED)
def test_gateway_responses_equal_those_of_the_engine(embedded: Running, gateway: Running, name: str) -> None:
    path, body = ASKED[name]
    body = body if path == CLASSIFY else {"temperature": 0, **body}
    own, other = embedded.post(path, body), gateway.post(path, body)
    assert own.status_code == other.status_code
    assert close(own.json(), other.json()), f"{own.text}\n{other.text}"


@pytest.mark.parametrize("name", ["prompt", "chat", "stop", "logprobs"])
def test_gateway_streams_equal_those_of_the_engine(embedded: Running, gateway: Running, name: str) -> None:
    path, body = ASKED[name]
    body = {"temperature": 0, **body, "n": 1, "stream": True, "stream_options": {"include_usage": True}}
    own, other = (streamed(server, path, body) for server in (embedded, gateway))
    assert close(own, other)
    assert len(own) > (1 if name == "stop" else 3)


def streamed(server: Running, path: str, body: dict[str, Any]) -> list[Any]:
    """The events of a stream; those of one response stand in their order, those of several need not."""
    lines = [line.removeprefix("data: ") for line in server.post(path, body).text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return sorted((json.loads(line) for line in lines[:-1]), key=lambda each: [c["index"] for c in each["choices"]])


@pytest.mark.parametrize("field", ["kv_transfer_params", "cache_salt", "prompt_embeds", "vllm_xargs", "priority"])
def test_requests_with_parameters_for_vllm_are_rejected(gateway: Running, field: str) -> None:
    for path, body in ((COMPLETE, {"prompt": "a"}), (CHAT, {"messages": SAID})):
        status, error = gateway.refused(
            path, {"model": "answers", **body, field: {"softprompt": {"prompt_digest": "0" * 64}}}
        )
        assert status == 400
        assert field in error["message"]


def test_a_replica_request_names_its_prompt_and_has_a_cache_salt_of_its_own(
    gateway: Running, replica: Speaking
) -> None:
    [version] = next(each for each in gateway.store.list_prompts() if each.name == "answers").versions
    gateway.post(COMPLETE, {"model": "answers", "prompt": "the film", "user": "eve", "metadata": {"cache_salt": "x"}})
    body = replica.vllm.asked[-1]
    assert body["kv_transfer_params"] == {"softprompt": {"prompt_digest": version.digest, "num_positions": 3}}
    assert body["prompt"][0][:3] == [0, 0, 0]
    assert len(body["cache_salt"]) == 64
    gateway.post(COMPLETE, {"model": BASE, "prompt": "the film"})
    assert "kv_transfer_params" not in replica.vllm.asked[-1]
    assert replica.vllm.asked[-1]["cache_salt"] != body["cache_salt"]


def test_gauges_do_not_count_cancelled_responses(gateway: Running, replica: Speaking) -> None:
    def gauge(name: str, **labels: str) -> float | None:
        return gateway.parts.metrics.registry.get_sample_value(f"softprompt_{name}", labels)

    body = {"model": "answers", "prompt": "the film", "n": 3, "max_tokens": 100, "ignore_eos": True, "stream": True}
    with httpx2.stream("POST", gateway.url + COMPLETE, json=body, timeout=60) as stream:
        next(stream.iter_lines())
    until(lambda: gauge("num_requests_running") == gauge("replica_num_seqs", replica=replica.url) == 0)
    assert gauge("num_requests_waiting") == 0


def test_prompt_embeddings_are_rejected_with_a_remedy(gateway: Running) -> None:
    status, error = gateway.refused(COMPLETE, {"model": "embeddings", "prompt": "a"})
    assert (status, error["code"]) == (400, "prompt_not_compiled")
    assert "compile the prompt to a prefix" in error["message"]


def test_uploads_of_prompt_embeddings_are_rejected(gateway: Running, chatting: FrozenModel) -> None:
    saved = prompt_for(chatting, ANSWERS, 7)
    for prompt, status in ((saved, 400), (saved.to_prefix(chatting), 201)):
        files = [("file", (name, content)) for name, content in prompt.files.items()]
        answer = httpx2.post(f"{gateway.url}/v1/prompts", data={"name": "brought"}, files=files, timeout=60)
        assert answer.status_code == status, answer.text
    assert gateway.post(COMPLETE, {"model": "brought", "prompt": "a"}).status_code == 200


def test_texts_that_look_like_placeholders_are_rejected(gateway: Running) -> None:
    for prompt, name in (([0, 0, 5], "prompt"), ([[3], [0, 0, 5]], "prompt.1")):
        status, error = gateway.refused(COMPLETE, {"model": BASE, "prompt": prompt})
        assert (status, error["param"]) == (400, name)
        assert "token" in error["message"]
