"""Parameters at the limits of OpenAI's ranges are accepted with OpenAI's meaning, by the engine and by a gateway."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.live_server import BASE, Running

ROUTES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": BASE, "prompt": "the film was"},
    "/v1/chat/completions": {"model": BASE, "messages": [{"role": "user", "content": "the film"}]},
}
COMMON: dict[str, dict[str, Any]] = {
    "top_p 0": {"top_p": 0},
    "top_p 0, drawn": {"top_p": 0, "temperature": 1},
    "top_p 0 and hot": {"top_p": 0.0, "temperature": 2, "seed": 3},
    "the least top_p": {"top_p": 1e-320, "temperature": 1},
    "a temperature that cannot be divided by": {"temperature": 1e-310},
    "stop ''": {"stop": ""},
    "stop ['']": {"stop": [""]},
    "stop []": {"stop": []},
    "stop null": {"stop": None},
    "stop empty and not": {"stop": ["", "no such text"]},
    "max_tokens null": {"user": "a", "seed": None},
    "n 1": {"n": 1},
    "n null": {"n": None},
    "stream null": {"stream": None, "stream_options": None},
    "stream false": {"stream": False},
    "no bias": {"logit_bias": {}},
    "bias null": {"logit_bias": None},
    "no penalties": {"frequency_penalty": 0, "presence_penalty": 0},
    "penalties null": {"frequency_penalty": None, "presence_penalty": None, "repetition_penalty": None},
    "text": {"response_format": {"type": "text"}},
    "format null": {"response_format": None, "structured_outputs": None},
    "metadata null": {"metadata": None, "store": False, "service_tier": "auto", "user": ""},
    "metadata": {"metadata": {}, "store": None, "user": None},
    "logprobs null": {"logprobs": None},
    "logprobs false": {"logprobs": False},
    "vLLM's null": {"top_k": None, "min_p": None, "ignore_eos": None, "fields": None},
}
CHAT: dict[str, dict[str, Any]] = {
    "logprobs false, top 0": {"logprobs": False, "top_logprobs": 0},
    "top 0": {"top_logprobs": 0},
    "top null": {"logprobs": False, "top_logprobs": None},
    "no tools": {"tools": [], "tool_choice": "none", "parallel_tool_calls": False},
    "tools null": {"tools": None, "tool_choice": None, "parallel_tool_calls": None},
    "parallel calls": {"parallel_tool_calls": True, "tool_choice": "auto"},
    "functions null": {"functions": None, "function_call": "none"},
    "lengths null": {"max_completion_tokens": None},
    "text alone": {"modalities": ["text"], "audio": None, "prediction": None},
}
COMPLETION: dict[str, dict[str, Any]] = {
    "best of one": {"n": 1, "best_of": 1},
    "best of null": {"best_of": None},
    "no echo": {"echo": False, "suffix": None},
    "suffix ''": {"suffix": ""},
}
CASES = [
    pytest.param(path, more, id=f"{name} ({path})")
    for path in ROUTES
    for name, more in (COMMON | (CHAT if "chat" in path else COMPLETION)).items()
]


@pytest.fixture(scope="module", params=["embedded", "gateway"])
def server(request: pytest.FixtureRequest) -> Running:
    running: Running = request.getfixturevalue(request.param)
    return running


def answered(server: Running, path: str, **more: Any) -> list[dict[str, Any]]:
    answer = server.post(path, {**ROUTES[path], "max_tokens": 8, "temperature": 0, **more})
    assert answer.status_code == 200, answer.text
    choices: list[dict[str, Any]] = answer.json()["choices"]
    return choices


@pytest.mark.parametrize(("path", "more"), CASES)
def test_neutral_values_do_not_change_the_response(server: Running, path: str, more: dict[str, Any]) -> None:
    assert answered(server, path, **more) == answered(server, path)


@pytest.mark.parametrize("path", ROUTES)
def test_max_tokens_null_is_the_same_as_no_max_tokens(server: Running, path: str) -> None:
    bare = answered(server, path, max_tokens=None)
    assert bare == server.post(path, {**ROUTES[path], "temperature": 0}).json()["choices"]


@pytest.mark.parametrize("path", ROUTES)
def test_a_top_p_of_0_is_greedy_in_every_response(server: Running, path: str) -> None:
    [greedy] = answered(server, path)
    several = answered(server, path, n=3, top_p=0, temperature=1.5)
    assert several == [{**greedy, "index": index} for index in range(3)]


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        ("/v1/chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("/v1/chat/completions", {"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ("/v1/completions", {"top_p": -0.1}, "top_p"),
        ("/v1/completions", {"top_p": 1.1}, "top_p"),
        ("/v1/completions", {"best_of": 2}, "best_of"),
        ("/v1/completions", {"stop": [1]}, "stop"),
        ("/v1/completions", {"stream_options": {"include_usage": True}}, "stream_options"),
        ("/v1/completions", {"suffix": "."}, "suffix"),
    ],
)
def test_unsupported_and_out_of_range_parameters_return_400(
    server: Running, path: str, more: dict[str, Any], param: str
) -> None:
    status, error = server.refused(path, {**ROUTES[path], **more})
    assert status == 400
    assert param in error["message"] or param in str(error["param"])
