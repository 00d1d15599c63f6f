"""Malformed requests are rejected in OpenAI's format and cause no server error.

Schemathesis draws valid and invalid requests from the OpenAPI description of the server; hypothesis draws random bodies
and bytes. The thorough profile draws 10,000.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from tests.registry.factories import check_whole
from tests.server.live_server import BASE, Running, fill, running

IS_THOROUGH = settings().max_examples > 50
many = settings(
    max_examples=9_000 if IS_THOROUGH else 250,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
some = settings(max_examples=1_000 if IS_THOROUGH else 60)
ASKED: dict[str, Any] = {"model": "answers", "prompt": "the film", "max_tokens": 4, "temperature": 0}
CHAT: dict[str, Any] = {
    "model": "chat",
    "messages": [{"role": "user", "content": "the film"}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "logit_bias": {"5": 1},
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["a"],
    "seed": 1,
    "n": 2,
    "fields": {"input": "a"},
}
PLACES = {"/v1/completions": ASKED, "/v1/chat/completions": CHAT, "/v1/classify": {"model": "reviews", "input": ["a"]}}

NAMES = (BASE, "answers", "answers@canary", "behind", "pairs", "chat", "reviews", "foreign")

# What checks types in the server's threads draws its samples from `random`, while the next example is drawn here.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel) -> Iterator[Running]:
    """A server that is tried hard, and in the end is what it was."""
    folder = tmp_path_factory.mktemp("tried") / "store"
    with PromptRegistry.open(folder, create=True) as store:
        fill(store, chatting)
    with running(folder, chatting, max_completion_tokens=4, request_timeout=30.0) as server:
        before = server.post("/v1/completions", {**ASKED, "model": "answers@1"}).json()["choices"]
        yield server
        assert server.post("/v1/completions", {**ASKED, "model": "answers@1"}).json()["choices"] == before
        assert server.get("/health").status_code == 200
        assert not server.rows
        check_whole(server.store)


@pytest.fixture(scope="module")
def cases(tried: Running) -> st.SearchStrategy[schemathesis.Case]:
    """Requests for any of the server's operations."""
    schema = schemathesis.openapi.from_dict(tried.get("/openapi.json").json())
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 15
    return st.one_of(
        each.as_strategy(generation_mode=mode)
        for each in operations
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )


def check(status: int, text: str, sent: Any) -> None:
    """It was answered, or refused as OpenAI does."""
    assert status < 500, (status, text, sent)
    if status >= 400:
        assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}, (text, sent)


@given(data=st.data())
@many
def test_requests_drawn_from_the_openapi_description_cause_no_server_error(
    tried: Running, cases: st.SearchStrategy[schemathesis.Case], data: st.DataObject
) -> None:
    case = data.draw(cases)
    if isinstance(case.body, dict) and "model" in case.body and data.draw(st.booleans()):
        case.body["model"] = data.draw(st.sampled_from(NAMES))  # or hardly any would be one that there is
    answer = case.call(base_url=tried.url, timeout=60)
    check(answer.status_code, answer.content.decode("utf-8", "replace"), case)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400])
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["\ud83d", "\0", "{input}", "answers@", "answers@0", f"{BASE}@1", "../../etc", "a" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def changed(value: Any, draw: st.DrawFn) -> Any:
    """A value with something else somewhere in it."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: changed(value[name], draw)}
    if isinstance(value, list) and value and draw(st.booleans()):
        return [changed(value[0], draw), *value]
    return draw(json_values)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A place, and a request that would be right but for a few things; or bytes that are none."""
    path = draw(st.sampled_from(sorted(PLACES)))
    if not draw(st.integers(0, 9)):
        return path, draw(st.binary(max_size=40))
    body: Any = PLACES[path]
    for _ in range(draw(st.integers(1, 3))):
        body = changed(body, draw)
    return path, json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@given(sent=bodies())
@some
def test_random_bodies_cause_no_server_error(tried: Running, sent: tuple[str, bytes]) -> None:
    path, content = sent
    answer = httpx2.post(tried.url + path, content=content, headers={"content-type": "application/json"}, timeout=60)
    check(answer.status_code, answer.text, sent)


@given(sent=st.binary(min_size=1, max_size=60), is_begun=st.booleans())
@some
def test_random_bytes_cause_no_server_error(tried: Running, sent: bytes, is_begun: bool) -> None:
    host, port = tried.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall((b"POST /v1/completions HTTP/1.1\r\n" if is_begun else b"") + sent + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: client.recv(4096), b""))
    assert not said.startswith(b"HTTP/1.1 5"), (said, sent)
