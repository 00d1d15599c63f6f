"""The key and scope of a request are checked before its body is read."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from softprompt.server.backends.engine_backend import EngineBackend
from softprompt.server.backends.vllm import VllmBackend
from tests.server.live_server import Running, running

OPEN = {("get", "/health"), ("get", "/ready")}
BACKENDS = {"embedded": EngineBackend.from_config, "vllm": VllmBackend.create_factory(["http://127.0.0.1:1"])}


@pytest.fixture(scope="module", params=BACKENDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel
) -> Iterator[Running]:
    with running(
        tmp_path_factory.mktemp("keyed") / "store", chatting, BACKENDS[request.param], auth_enabled=True
    ) as server:
        yield server


def operations(server: Running) -> list[tuple[str, str]]:
    """Every method and path that there is."""
    described: dict[str, Any] = server.get("/openapi.json").json()["paths"]
    found = [(method, path) for path, methods in described.items() for method in methods]
    assert len(found) > 15
    return found


def refused(server: Running, method: str, path: str, *headers: str) -> str:
    """The status and code that a request gets whose body never comes."""
    host, port = server.url.removeprefix("http://").split(":")
    path = path.replace("{", "").replace("}", "").replace("number", "1")
    lines = [f"{method.upper()} {path} HTTP/1.1", "Host: localhost", "Content-Length: 500000", *headers, "", ""]
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall("\r\n".join(lines).encode() + b"{")
        came = b""
        while not came.endswith(b"}}"):
            piece = client.recv(65_536)
            assert piece, came
            came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    return f"{head.split()[1].decode()} {json.loads(body)['error']['code']}"


def test_a_missing_or_wrong_key_is_rejected_before_the_body_is_read(server: Running) -> None:
    for method, path in operations(server):
        if (method, path) in OPEN:
            continue
        for content_type in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
            wrong = ("Authorization: Bearer sp-wrong", f"Content-Type: {content_type}")
            assert refused(server, method, path, *wrong) == "401 invalid_api_key", (method, path)
        assert refused(server, method, path) == "401 invalid_api_key", (method, path)


def test_a_missing_scope_is_rejected_before_the_body_is_read(server: Running) -> None:
    with PromptRegistry.open(server.store.location) as store:
        _, text = store.api_keys.create_key("acme", "use")
    key = f"Authorization: Bearer {text}"
    changes = [(method, path) for method, path in operations(server) if method != "get" and "/prompts" in path]
    assert len(changes) >= 5
    for method, path in [*changes, ("get", "/metrics"), ("get", "/v1/prompts/{name}/history")]:
        assert refused(server, method, path, key) == "403 insufficient_permissions", (method, path)
