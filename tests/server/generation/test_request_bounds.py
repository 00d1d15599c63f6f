"""Stop strings, penalties and grammars beyond their bounds are rejected."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.live_server import Running

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
ASKED: dict[str, Any] = {"model": "answers", "max_tokens": 8}


def body_for(path: str) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": "the film"}]} if path == CHAT else {"prompt": "the film"}
    return {**ASKED, **said}


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
@pytest.mark.parametrize(
    ("more", "param", "said"),
    [
        ({"stop": ["a"] * 17}, "stop", "at most 16"),
        ({"stop": ["a", "b" * 257]}, "stop.1", "at most 256 characters, this one has 257"),
        ({"stop": "b" * 60_000}, "stop.0", "at most 256 characters, this one has 60000"),
        ({"repetition_penalty": 1e-310}, "repetition_penalty", "greater than or equal to 0.01"),
    ],
)
def test_values_beyond_a_bound_are_rejected_and_the_error_states_the_bound(
    served: Running, path: str, more: Any, param: str, said: str
) -> None:
    status, error = served.refused(path, {**body_for(path), **more})
    assert (status, error["param"]) == (400, param)
    assert said in error["message"]


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
def test_stop_strings_of_the_maximum_number_and_length_are_accepted(served: Running, path: str) -> None:
    assert served.post(path, {**body_for(path), "stop": ["b" * 256] * 16}).status_code == 200


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
def test_a_grammar_that_takes_too_long_to_compile_is_rejected(
    served: Running, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.parts.grammar_compiler._compiler._checker, "_cpu_seconds", 0.2)
    schema = {"type": "integer", "multipleOf": 999983}
    status, error = served.refused(path, {**body_for(path), "structured_outputs": {"json": schema}})
    assert status == 400
    assert "the JSON schema cannot be used: it takes more than 0.2 s to compile" in error["message"]


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
def test_an_expensive_grammar_ends_its_response_with_an_error(served: Running, path: str) -> None:
    body = {**body_for(path), "structured_outputs": {"regex": "(a?){1000}a{1000}"}}
    status, error = served.refused(path, body)
    assert (status, error["code"]) == (400, "grammar_failed")
    *_, last, nothing = served.post(path, {**body, "stream": True}).text.split("\n\n")
    assert nothing == ""
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "grammar_failed"
