"""Bodies that are too large or do not come, and clients that do not read: over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from softprompt.server.middleware.body_limit import BodyLimitMiddleware
from softprompt.server.runtime.timeout_http_protocol import TimeoutHttpProtocol
from tests.server.minimal_app import serving, until

PIECE = "x" * 65_536


class Told:
    """What the application behind the guards lived through."""

    def __init__(self) -> None:
        self.bodies: list[int] = []
        self.ended: list[str] = []


def application(told: Told) -> FastAPI:
    app = FastAPI()

    @app.post("/count")
    @app.post("/upload")
    async def count(request: Request) -> int:
        size = len(await request.body())
        told.bodies.append(size)
        return size

    @app.post("/fields")
    async def fields(body: dict[str, Any]) -> int:
        told.bodies.append(len(body))
        return len(body)

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        return Endless(told)

    return app


class Endless(StreamingResponse):
    """A stream without an end, that says when it is over all the same."""

    def __init__(self, told: Told):
        super().__init__(self._pieces())
        self.told = told

    async def _pieces(self) -> AsyncIterator[str]:
        while True:
            await asyncio.sleep(0)  # as one that waits for a model does: the others get their turn
            yield PIECE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.told.ended.append("endless")


class Hasty(TimeoutHttpProtocol):
    """A connection whose clocks are for tests."""

    header_timeout = 0.3
    write_timeout = 0.5


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def port(told: Told) -> Iterator[int]:
    guarded = BodyLimitMiddleware(
        application(told), 1000, {"/upload": 50_000}, timeout_s=0.4, min_bytes_per_second=10_000
    )
    with serving(guarded) as (port, _server):
        yield port


def ask(port: int, *parts: bytes, read: bool = True) -> tuple[int, Any, bytes]:
    """Send bytes as they are; the status, the answer's JSON, and all that came."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        came = b""
        while piece := connection.recv(65_536):
            came += piece
            if b"\r\n\r\n" in came and came.split(b"\r\n\r\n", 1)[1].endswith((b"}", b"0")) and b"HTTP/1.1 2" in came:
                break
        head, _, body = came.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body), came


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]).encode()


def chunk(size: int) -> bytes:
    return f"{size:x}\r\n".encode() + b"x" * size + b"\r\n"


def refused(status: int, body: Any) -> str:
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return f"{status} {error['code']}"


def test_a_body_within_the_limit_is_accepted(port: int) -> None:
    assert ask(port, request("/count", "Content-Length: 1000"), b"x" * 1000)[:2] == (200, 1000)
    assert ask(port, request("/count", "Transfer-Encoding: chunked"), chunk(400), chunk(600), b"0\r\n\r\n")[1] == 1000
    assert ask(port, request("/count", "Content-Length: 0"))[:2] == (200, 0)


def test_the_limit_of_a_path_replaces_the_default(port: int) -> None:
    assert ask(port, request("/upload", "Content-Length: 50000"), b"x" * 50_000)[:2] == (200, 50_000)
    status, body, _ = ask(port, request("/upload", "Content-Length: 50001"))
    assert refused(status, body) == "413 too_large"


@pytest.mark.parametrize("path", ["/count", "/fields"])
def test_a_declared_size_beyond_the_limit_is_rejected_unread(port: int, told: Told, path: str) -> None:
    before = list(told.bodies)
    status, body, came = ask(port, request(path, "Content-Length: 1001", "Content-Type: application/json"))
    assert refused(status, body) == "413 too_large"
    assert b"connection: close" in came.lower()
    assert told.bodies == before


@pytest.mark.parametrize("path", ["/count", "/fields"])
def test_a_chunked_body_is_rejected_at_the_limit(port: int, told: Told, path: str) -> None:
    before = list(told.bodies)
    head = request(path, "Transfer-Encoding: chunked", "Content-Type: application/json")
    status, body, _ = ask(port, head, chunk(600), chunk(401))  # and never the end
    assert refused(status, body) == "413 too_large"
    assert told.bodies == before


@pytest.mark.parametrize("path", ["/count", "/fields"])
def test_a_missing_body_times_out(port: int, told: Told, path: str) -> None:
    before = list(told.bodies)
    head = request(path, "Content-Length: 1000", "Content-Type: application/json")
    status, body, _ = ask(port, head, b"{")
    assert refused(status, body) == "408 timeout"
    assert told.bodies == before


def test_a_slow_body_above_the_minimum_rate_is_accepted() -> None:
    """As long as it brings its bytes a second, it takes what time it needs."""
    assert asyncio.run(guarded(pieces=8, seconds=0.1)) == ("read", 8 * 4000)
    assert asyncio.run(guarded(pieces=20, seconds=0.1, size=1)) == ("refused", 408)


def test_the_time_before_the_application_reads_the_body_does_not_count() -> None:
    assert asyncio.run(guarded(pieces=2, seconds=0.1, size=1, wait=0.5)) == ("read", 2)


async def guarded(pieces: int, seconds: float, size: int = 4000, wait: float = 0) -> tuple[str, int]:
    """A body in pieces with a pause before each, through a guard that waits 0.4 seconds, and 10,000 bytes a second."""
    left, sent = pieces, list[Message]()

    async def receive() -> Message:
        nonlocal left
        await asyncio.sleep(seconds)
        left -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left > 0}

    async def send(message: Message) -> None:
        sent.append(message)

    read = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal read
        await asyncio.sleep(wait)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                await send({"type": "http.response.start", "status": 500, "headers": []})
                raise RuntimeError("the client has gone")
            read += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    guard = BodyLimitMiddleware(app, 10**6, timeout_s=0.4, min_bytes_per_second=10_000)
    await guard({"type": "http", "path": "/", "headers": []}, receive, send)
    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert len(statuses) == 1
    return ("read", read) if statuses == [200] else ("refused", statuses[0])


def test_exceptions_of_the_application_are_passed_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a fault")

    async def nothing(*_: Any) -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(RuntimeError, match="a fault"):
        asyncio.run(BodyLimitMiddleware(app, 10)({"type": "http", "path": "/", "headers": []}, nothing, nothing))  # type: ignore[arg-type]


def test_a_started_response_is_not_replaced_by_an_error() -> None:
    """An application may answer before it has read; then the rest of the body is too much, and nothing more is said."""
    sent = list[Message]()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b""})

    asyncio.run(BodyLimitMiddleware(app, 10)({"type": "http", "path": "/", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def endless(port: int) -> socket.socket:
    """A client that asks for a stream and reads nothing of it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def test_a_connection_of_a_client_that_does_not_read_is_closed() -> None:
    """The application that writes the stream ends."""
    told = Told()
    with serving(application(told), Hasty) as (port, server), endless(port):
        until(lambda: server.server_state.connections)
        until(lambda: told.ended == ["endless"] and not server.server_state.connections, 20)


@pytest.mark.parametrize("beginning", [b"", b"POST /count HT", b"POST /count HTTP/1.1\r\nHost: loc"])
def test_a_connection_without_a_request_is_closed(beginning: bytes) -> None:
    with serving(application(Told()), Hasty) as (port, server):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(beginning)
            until(lambda: server.server_state.connections)
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        until(lambda: not server.server_state.connections)


def test_a_connection_with_regular_requests_stays_open() -> None:
    asked = b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
    with (
        serving(application(Told()), Hasty) as (port, _server),
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
    ):
        for _ in range(3):
            connection.sendall(asked)
            came = b""
            while not came.endswith(b"\r\n\r\n1"):
                came += connection.recv(1000)
            assert b"200 OK" in came
        connection.sendall(asked[:20])  # and then it stops in the middle of its headers
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""
