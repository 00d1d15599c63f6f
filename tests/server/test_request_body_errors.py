"""The error for a body that is not a JSON object states the problem, its position and what to send."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx2
import pytest

from tests.server.live_server import Running

JSON = "application/json"
ROUTES = {
    "/v1/chat/completions": {"model": "answers", "messages": [{"role": "user", "content": "tea"}], "max_tokens": 2},
    "/v1/completions": {"model": "answers", "prompt": "tea", "max_tokens": 2},
    "/v1/classify": {"model": "reviews", "input": "tea"},
    "/v1/prompts/answers/activate": {"version": 1},
    "/v1/prompts/answers/rollback": {"alias": "canary"},
    "/v1/prompts/answers/deactivate": {"alias": "canary"},
}
ANSWERED = list(ROUTES)[:3]  # the others change the store, which tests share


def sent(served: Running, path: str, content: bytes, kind: str | None) -> tuple[int, dict[str, Any]]:
    """The status, and what an error says."""
    headers = {} if kind is None else {"content-type": kind}
    answer = httpx2.post(served.url + path, content=content, headers=headers, timeout=60)
    return answer.status_code, answer.json().get("error", {})


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "kind", [None, "", "application/x-www-form-urlencoded", "text/plain", "text/json", "multipart/form-data", "json"]
)
def test_a_wrong_content_type_is_rejected_and_the_error_states_the_header_to_send(
    served: Running, path: str, kind: str | None
) -> None:
    status, error = sent(served, path, json.dumps(ROUTES[path]).encode(), kind)
    assert status == 415
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_media_type")
    assert "send Content-Type: application/json" in error["message"]
    assert (kind or "without a Content-Type") in error["message"]


def test_curl_without_a_content_type_gets_an_error_with_the_option_to_add(served: Running) -> None:
    command = ["curl", "-s", "-d", json.dumps(ROUTES["/v1/classify"]), f"{served.url}/v1/classify"]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert "-H 'Content-Type: application/json'" in said["error"]["message"]


@pytest.mark.parametrize("path", ANSWERED)
@pytest.mark.parametrize("kind", [JSON, "application/json; charset=utf-8", "APPLICATION/JSON", "application/a+json"])
def test_json_is_accepted_in_any_unicode_encoding_and_json_media_type(served: Running, path: str, kind: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        status, error = sent(served, path, json.dumps(ROUTES[path]).encode(encoding), kind)
        assert status == 200, error


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"{'model': 1}", "line 1, column 2"),
        (b'{"model": "a"\n "input": 1}', "line 2, column 2"),
        (b'{\n"a": 1,\n"b": [1,\n}', "line 4, column 1"),
        (b'{"model": "a"', "line 1, column 14"),
        (b"model=a&input=b", "line 1, column 1"),
        (b'{"a": 1}{"b": 2}', "line 1, column 9"),
        (b" ", "line 1, column 2"),
    ],
)
def test_the_error_for_invalid_json_states_line_and_column(
    served: Running, path: str, content: bytes, where: str
) -> None:
    status, error = sent(served, path, content, JSON)
    assert status == 400
    assert where in error["message"]
    assert "JSON" in error["message"]
    assert error["code"] == "invalid_json"


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("kind", [JSON, "application/json; charset=iso-8859-1"])
def test_the_error_for_invalid_utf8_states_the_byte_and_its_position(served: Running, path: str, kind: str) -> None:
    status, error = sent(served, path, '{"model": "a",\n "input": "café"}'.encode("latin-1"), kind)
    assert status == 400
    assert "UTF-8" in error["message"]
    assert "0xe9 at line 2, column 15" in error["message"]
    assert error["code"] == "invalid_json"


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("content", "word"),
    [(b"[" * 100_000, "nested too deeply"), (b'{"model": ' + b"9" * 5000 + b"}", "4300 digits")],
)
def test_json_beyond_the_limits_of_the_parser_is_rejected(
    served: Running, path: str, content: bytes, word: str
) -> None:
    status, error = sent(served, path, content, JSON)
    assert status == 400
    assert word in error["message"]


@pytest.mark.parametrize("path", ANSWERED)
@pytest.mark.parametrize(
    ("content", "kind"), [(b"", JSON), (b"", "application/x-www-form-urlencoded"), (b"", None), (b"null", JSON)]
)
def test_an_empty_or_null_body_is_rejected_and_the_error_states_the_header_to_send(
    served: Running, path: str, content: bytes, kind: str | None
) -> None:
    status, error = sent(served, path, content, kind)
    assert status == 400
    assert "empty or null" in error["message"]
    assert "Content-Type: application/json" in error["message"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"[]", "an array"), (b"[{}]", "an array"), (b'"a"', "a string"), (b"3.5", "a number"), (b"true", "a bool")],
)
def test_json_that_is_not_an_object_is_rejected_and_the_error_names_its_type(
    served: Running, path: str, content: bytes, kind: str
) -> None:
    status, error = sent(served, path, content, JSON)
    assert status == 400
    assert f"must be a JSON object, not {kind}" in error["message"]
