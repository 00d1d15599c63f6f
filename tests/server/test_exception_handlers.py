"""Errors have OpenAI's format and raise the exceptions of OpenAI's client."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from softprompt.errors import (
    CorruptPrompt,
    DiskFull,
    PromptNotFound,
    RecordError,
    SettingError,
    SoftPromptError,
    StoreError,
    translate_os_errors,
)
from softprompt.server import request_errors
from softprompt.server.exception_handlers import ERROR_RESPONSES, to_api_error
from softprompt.server.request_errors import RequestError, UnknownModel
from tests.server.live_server import BASE, Running

SAID: Any = [{"role": "user", "content": "tea"}]
CHAT = "/v1/chat/completions"


def test_an_unknown_prompt_returns_404(served: Running, client: openai.OpenAI) -> None:
    for name in ("nothing", "answers@9", "answers@nobody", "No name!", "", "a/b"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model=name, messages=SAID)
        assert caught.value.code == "model_not_found"
        assert f"`{name}`" in caught.value.message
        for other in ("reviews", "canary", "@1", "default"):
            assert other not in caught.value.message.replace(name, "")


def test_a_prompt_for_another_base_model_is_rejected(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="foreign", messages=SAID)
    assert caught.value.code == "base_model_mismatch"
    assert "tiny-llama-7" in caught.value.message


def test_a_text_that_is_too_long_is_rejected_with_the_maximum_and_the_requested_length(
    served: Running, client: openai.OpenAI
) -> None:
    long: Any = [{"role": "user", "content": "the film " * 100}]
    for model in ("answers", "chat", "behind", BASE):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=model, messages=long)
        assert caught.value.code == "context_length_exceeded"
        assert "128 tokens" in caught.value.message
    most = client.chat.completions.create(model="answers", messages=SAID, extra_body={"ignore_eos": True}).usage
    assert most is not None
    assert most.total_tokens + 3 == 129  # the virtual tokens; the last token is not read
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="answers", messages=SAID, max_tokens=most.completion_tokens + 1)
    assert "129 tokens" in caught.value.message or "130 tokens" in caught.value.message


@pytest.mark.parametrize(
    ("more", "word", "param"),
    [
        ({"foo": 1}, "Unrecognized request argument supplied: foo", None),
        ({"foo": 1, "bar": 2}, "Unrecognized request arguments supplied: foo, bar", None),
        ({"\ud800": 1}, "unicode string", None),
        ({"tools": [{"type": "function"}]}, "not supported", "tools"),
        ({"functions": [{}]}, "not supported", "functions"),
        ({"audio": {}, "modalities": ["audio"]}, "modalities.0", "modalities.0"),
        ({"temperature": 3}, "less than or equal to 2", "temperature"),
        ({"temperature": "hot"}, "valid number", "temperature"),
        ({"n": 0}, "greater than or equal to 1", "n"),
        ({"max_tokens": 0}, "greater than or equal to 1", "max_tokens"),
        ({"messages": []}, "at least 1", "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'system', 'developer'", "messages.0.role"),
        ({"messages": [*SAID, {"role": "assistant", "content": "x"}]}, "last message", "messages"),
        ({"messages": [{"role": "user", "content": "\udc00"}]}, "lone surrogate", None),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"top_logprobs": 2}, "logprobs", None),
        ({"logprobs": True, "top_logprobs": 21}, "less than or equal to 20", "top_logprobs"),
        ({"logit_bias": {"-1": 1}}, "not a valid token id", "logit_bias"),
        ({"logit_bias": {"384": 1}}, "not a valid token id", "logit_bias"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 3}}}},
            "schema",
            None,
        ),
        ({"response_format": {"type": "yaml"}}, "json_object", None),
        ({"fields": {"input": "a"}, "model": BASE}, "fields", "fields"),
        ({"model": "reviews"}, "/v1/classify", "model"),
        ({"model": 3}, "valid string", "model"),
        ({"seed": 2**63}, "less than", "seed"),
    ],
)
def test_invalid_parameters_are_rejected(served: Running, more: dict[str, Any], word: str, param: str | None) -> None:
    status, error = served.refused(CHAT, {"model": "answers", "messages": SAID, **more})
    assert status == 400
    assert word in error["message"]
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"] == param


def test_ignored_and_neutral_parameters_are_accepted(served: Running) -> None:
    harmless = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "parallel_tool_calls": True}
    empty = {"tools": [], "tool_choice": "none", "seed": None, "stop": None, "temperature": None, "audio": None}
    answer = served.post(CHAT, {"model": "answers", "messages": SAID, "max_tokens": 2, **harmless, **empty})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", '{"model": NaN}', "[" * 100_000, '{"seed": ' + "9" * 5000 + "}"]
)
def test_malformed_request_bodies_are_rejected(served: Running, content: str) -> None:
    for path in (CHAT, "/v1/completions", "/v1/classify"):
        answer = httpx2.post(served.url + path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_unknown_path_returns_404_and_a_wrong_method_405(served: Running) -> None:
    for answer, status in ((served.get("/v1/nothing"), 404), (served.get(CHAT), 405)):
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_error_messages_name_request_fields_instead_of_python_parameters() -> None:
    found = to_api_error(SettingError("`max_new_tokens=0`: choose 1 to 9, or leave `max_new_tokens` out"))
    assert found.message == "`max_tokens=0`: choose 1 to 9, or leave `max_tokens` out"


def test_error_messages_name_endpoints_instead_of_commands(served: Running) -> None:
    with pytest.raises(PromptNotFound) as caught:
        served.store.resolve_version("nothing")
    error = to_api_error(caught.value)
    assert (error.status, error.code) == (404, "prompt_not_found")
    assert error.message.endswith("GET /v1/prompts shows the existing ones")


def test_exceptions_map_to_status_codes_without_paths_in_their_messages() -> None:
    for error, status in (
        (UnknownModel("reviews"), 404),
        (SettingError("choose"), 400),
        (RecordError("input 1", "no field"), 400),
        (CorruptPrompt("/secret/place is damaged"), 503),
        (StoreError("/secret/place is busy"), 503),
        (SoftPromptError("/secret/place is not what it was"), 500),
        (DiskFull("no space left for /secret/place"), 507),
        (RuntimeError("/secret/place"), 500),
    ):
        response = to_api_error(error)
        assert response.status == status
        assert "secret" not in response.message
        assert "acme" not in response.message


def test_an_operating_system_error_is_reported_without_its_path() -> None:
    try:
        with translate_os_errors(Path("/secret/place")):
            raise PermissionError(errno.EACCES, "denied")
    except SettingError as error:
        response = to_api_error(error)
    assert (response.status, response.code) == (503, "registry_unavailable")
    assert "secret" not in response.message


def test_every_request_error_class_maps_to_a_response() -> None:
    kinds = [
        each for each in vars(request_errors).values() if isinstance(each, type) and issubclass(each, RequestError)
    ]
    assert len(kinds) > 20
    assert set(kinds) - {RequestError} <= set(ERROR_RESPONSES)
