"""The key is looked at before a request's body: whoever has none costs the server nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.server.embedded import Embedded
from softprompt.server.gateway import Remote
from softprompt.store import Store
from tests.server.running import Running, running

OPEN = {("get", "/health"), ("get", "/ready")}
BACKENDS = {"embedded": Embedded.of, "vllm": Remote.at(["http://127.0.0.1:1"])}


@pytest.fixture(scope="module", params=BACKENDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, chatting: FrozenModel
) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("keyed") / "store", chatting, BACKENDS[request.param], keys=True) as server:
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


def test_who_has_no_key_is_refused_before_the_body_comes(server: Running) -> None:
    for method, path in operations(server):
        if (method, path) in OPEN:
            continue
        for content_type in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
            wrong = ("Authorization: Bearer sp-wrong", f"Content-Type: {content_type}")
            assert refused(server, method, path, *wrong) == "401 invalid_api_key", (method, path)
        assert refused(server, method, path) == "401 invalid_api_key", (method, path)


def test_whose_key_does_not_allow_it_is_refused_before_the_body_comes(server: Running) -> None:
    with Store.open(server.store.place) as store:
        _, text = store.keys.create("acme", "use")
    key = f"Authorization: Bearer {text}"
    changes = [(method, path) for method, path in operations(server) if method != "get" and "/prompts" in path]
    assert len(changes) >= 5
    for method, path in [*changes, ("get", "/metrics"), ("get", "/v1/prompts/{name}/history")]:
        assert refused(server, method, path, key) == "403 insufficient_permissions", (method, path)
