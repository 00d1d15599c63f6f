"""The protocol rejects ambiguous and oversized requests, and disconnects clients that are idle or hardly read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from softprompt.server.runtime.message_size_counter import MAX_HEAD_BYTES, MAX_OVERHEAD_BYTES
from softprompt.server.runtime.strict_http_protocol import MAX_DISCARDED_BYTES, MAX_PARSE_BYTES
from softprompt.server.runtime.timeout_http_protocol import TimeoutHttpProtocol
from tests.server.minimal_app import serving, until

POST = "POST /size HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = f"{POST}Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def size(request: Request) -> Response:
    return JSONResponse(len(await request.body()))


async def quick(request: Request) -> Response:
    return JSONResponse("quick")


async def last(request: Request) -> Response:
    return JSONResponse("last")


async def slow(request: Request) -> Response:
    await asyncio.sleep(0.2)
    return JSONResponse("slow")


async def large(request: Request) -> Response:
    return Response(b"x" * 2**24)


APP = Starlette(
    routes=[Route("/size", size, methods=["POST"]), *(Route(f"/{f.__name__}", f) for f in (quick, last, slow, large))]
)


class Watched(TimeoutHttpProtocol):
    """A connection that counts what it parses, and whose clocks are for tests."""

    header_timeout = 5.0
    write_timeout = 0.3
    parsed = 0

    def _parse_piece(self, piece: bytes) -> None:
        Watched.parsed += len(piece)
        super()._parse_piece(piece)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(APP, Watched) as (port, _server):
        yield port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def said(port: int, *parts: bytes | str) -> bytes:
    """All that is said to bytes, and to a last request behind them, until the connection is closed."""
    with connected(port) as client:
        with suppress(ConnectionError):
            for part in (*parts, LAST):
                client.sendall(part if isinstance(part, bytes) else part.encode("latin-1"))
        return received(client)


def answers(port: int, *parts: bytes | str) -> list[bytes]:
    """The bodies of the answers to all requests in these bytes, each of which is right."""
    *found, last = [part.partition(b"\r\n\r\n")[2] for part in said(port, *parts).split(b"HTTP/1.1 200 OK")[1:]]
    assert last == b'"last"'
    return found


def received(client: socket.socket) -> bytes:
    came = b""
    with suppress(ConnectionError):
        while piece := client.recv(65_536):
            came += piece
    return came


def refused(came: bytes) -> tuple[int, str]:
    """The status and code of a refusal in OpenAI's shape, behind which the connection is closed."""
    head, _, body = came.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower(), came
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split()[1]), error["code"]


AMBIGUOUS = {
    "both lengths": f"{POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "a length twice": f"{POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths": f"{POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": f"{POST}Content-Length: 3, 3\r\n\r\nabc",
    "a length with a sign": f"{POST}Content-Length: +3\r\n\r\nabc",
    "a negative length": f"{POST}Content-Length: -3\r\n\r\nabc",
    "a length in hex": f"{POST}Content-Length: 0x3\r\n\r\nabc",
    "no length": f"{POST}Content-Length: \r\n\r\nabc",
    "a length beyond numbers": f"{POST}Content-Length: {10**23}\r\n\r\nabc",
    "chunked twice": f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": f"{POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "nearly chunked": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked behind a control character": f"{POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "identity": f"{POST}Transfer-Encoding: identity\r\n\r\n",
    "chunked in HTTP/1.0": "POST /size HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": f"{POST}Content-Length : 3\r\n\r\nabc",
    "bare LF everywhere": "GET /quick HTTP/1.1\nHost: localhost\n\n",
    "bare LF behind a header": "GET /quick HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "bare LF at the end": "GET /quick HTTP/1.1\r\nHost: localhost\r\n\n",
    "bare CR in a header": "GET /quick HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
    "a folded header": "GET /quick HTTP/1.1\r\nHost: localhost\r\nX: y\r\n z\r\n\r\n",
    "a header folded by a tab": "GET /quick HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\tz\r\n\r\n",
    "a folded length": f"{POST}Content-Length:\r\n 3\r\n\r\nabc",
    "a header before the first": "GET /quick HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "NUL in a header": "GET /quick HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    "a header without a name": "GET /quick HTTP/1.1\r\nHost: localhost\r\n: y\r\n\r\n",
    "no host": "GET /quick HTTP/1.1\r\n\r\n",
    "two hosts": "GET /quick HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
    "no version": "GET /quick\r\n\r\n",
    "HTTP/2": "GET /quick HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "bare LF behind a chunk's size": f"{CHUNKED}1\na\r\n0\r\n\r\n",
    "bare LF behind a chunk": f"{CHUNKED}1\r\na\n0\r\n\r\n",
    "bare LF in a chunk's extension": f"{CHUNKED}1;x\ny\r\na\r\n0\r\n\r\n",
    "a chunk longer than it says": f"{CHUNKED}1\r\naa\r\n0\r\n\r\n",
    "a chunk's size beyond numbers": f"{CHUNKED}fffffffffffffffff1\r\na\r\n0\r\n\r\n",
    "a chunk's size in other words": f"{CHUNKED}0x1\r\na\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_requests_are_rejected(port: int, sent: str) -> None:
    came = said(port, sent)  # and what stands behind it is no request
    status, code = refused(came)
    assert status in (400, 501, 505)
    assert code == "invalid_http"
    assert came.count(b"HTTP/1.1 ") == 1


def test_rejections_state_the_problem(port: int) -> None:
    assert b"Transfer-Encoding can't be present with Content-Length" in said(port, AMBIGUOUS["both lengths"])
    assert b"the request has 2 Host headers: send exactly one" in said(port, AMBIGUOUS["two hosts"])


@pytest.mark.parametrize(
    "head",
    [
        "".join(f"X{i}: {'y' * 80}\r\n" for i in range(400)),
        "".join("a:\r\n" for _ in range(6000)),
        f"X: {'y' * 34_000}\r\n",
        f"{'x' * 34_000}: y\r\n",
    ],
    ids=["many", "tiny", "a long value", "a long name"],
)
@pytest.mark.parametrize("is_whole", [True, False])
def test_headers_beyond_the_limit_are_rejected(port: int, head: str, is_whole: bool) -> None:
    assert len(head) > MAX_HEAD_BYTES
    sent = f"GET /quick HTTP/1.1\r\nHost: localhost\r\n{head}" + "\r\n" * is_whole
    assert refused(said(port, sent)) == (431, "headers_too_large")


def test_a_url_beyond_the_limit_is_rejected(port: int) -> None:
    assert refused(said(port, f"GET /{'x' * MAX_HEAD_BYTES} HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 431


def test_headers_within_the_limit_are_accepted(port: int) -> None:
    head = "".join(f"X{i}: {'y' * 80}\r\n" for i in range(150))
    assert answers(port, f"GET /quick HTTP/1.1\r\nHost: localhost\r\n{head}\r\n") == [b'"quick"']


@pytest.mark.parametrize(
    "sent",
    [b"1\r\n \r\n" * 100_000, (b"1;" + b"x" * 200 + b"\r\n \r\n") * 2_000, b"0\r\n" + b"X: y\r\n" * 10_000],
    ids=["chunks of one byte", "extensions", "trailers"],
)
@pytest.mark.parametrize("path", ["/size", "/quick"])
def test_a_body_of_mostly_overhead_is_rejected(port: int, sent: bytes, path: str) -> None:
    Watched.parsed = 0
    head = CHUNKED.replace("POST /size", "POST /size" if path == "/size" else "GET /quick")
    came = said(port, head, sent)
    if path == "/size":  # the other one is answered before its body has come
        assert refused(came) == (400, "too_many_chunks")
    assert Watched.parsed < 3 * MAX_OVERHEAD_BYTES


def test_a_chunked_body_is_accepted(port: int) -> None:
    assert answers(port, CHUNKED, b"10\r\n0123456789abcdef\r\n" * 5_000, b"0\r\n\r\n") == [b"80000"]
    assert answers(port, CHUNKED, b"1\r\n \r\n" * 2_000, b"0\r\nX: y\r\n\r\n") == [b"2000"]


def test_a_large_body_is_parsed_in_pieces(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = list[int]()
    parse = Watched._parse_piece
    monkeypatch.setattr(Watched, "_parse_piece", lambda self, piece: (pieces.append(len(piece)), parse(self, piece)))
    assert answers(port, f"{POST}Content-Length: 1000000\r\n\r\n", b"x" * 10**6) == [b"1000000"]
    assert sum(pieces) > 10**6
    assert max(pieces) <= MAX_PARSE_BYTES


def test_an_unread_body_is_discarded_up_to_a_limit(port: int) -> None:
    sent = b"GET /quick HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    assert answers(port, sent, GET) == [b'"quick"'] * 2
    Watched.parsed = 0
    head = f"GET /quick HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2**24}\r\n\r\n"
    assert said(port, head, b"x" * 2**24).count(b'"quick"') == 1
    assert Watched.parsed < MAX_DISCARDED_BYTES + 2 * MAX_PARSE_BYTES + 2**18


def test_requests_in_one_packet_are_answered_in_order(port: int) -> None:
    slow_one = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with_body = f"{POST}Content-Length: 6000\r\n\r\n".encode() + b"x" * 6000
    found = answers(port, slow_one, GET * 40, with_body, slow_one, GET)
    assert found == [b'"slow"', *[b'"quick"'] * 40, b"6000", b'"slow"', b'"quick"']


def test_an_invalid_second_request_keeps_the_first_response_intact(port: int) -> None:
    slow_one = "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    no_path = "GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for wrong in (AMBIGUOUS["both lengths"], "nonsense\r\n\r\n", f"{CHUNKED}x", no_path):
        came = said(port, slow_one + wrong)
        assert came.endswith(b'"slow"')
        assert came.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("body", [b"", b"x" * 10_000])
def test_protocol_upgrades_are_ignored(port: int, body: bytes) -> None:
    """As Java's clients send at first, and curl with --http2: the body is read, and so is the next request."""
    asking = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    sent = f"{POST}{asking}Content-Length: {len(body)}\r\n\r\n".encode() + body
    assert answers(port, sent, GET) == [str(len(body)).encode(), b'"quick"']
    chunked = f"{POST}{asking}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert answers(port, chunked) == [b"3"]


def test_a_client_that_hardly_reads_is_disconnected() -> None:
    with serving(APP, Watched) as (port, server), connected(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: server.server_state.connections)

        def is_closed() -> bool:
            with suppress(ConnectionError):
                client.recv(1)
            return not server.server_state.connections

        until(is_closed, 20)


def test_a_client_that_reads_slowly_is_served() -> None:
    with serving(APP, Watched) as (port, _server), connected(port) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        until(lambda: len(client.recv(2**18, socket.MSG_PEEK)) > 1000)
        assert len(received(client)) > 2**24


def test_idle_connections_are_closed_for_new_ones() -> None:
    with serving(APP, Watched, limit_concurrency=8) as (port, server), ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(connected(port))
        working = stack.enter_context(connected(port))
        for _ in range(3):
            working.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: any(each.is_responding for each in server.server_state.connections))
            for _ in range(10):
                stack.enter_context(connected(port))
            came = b""
            while not came.endswith(b'"slow"'):
                came += working.recv(1000)
            assert b"200 OK" in came
        assert len(server.server_state.connections) < 9
        assert answers(port, GET) == [b'"quick"']


def test_a_connection_beyond_the_limit_gets_503_if_all_are_busy() -> None:
    with serving(APP, Watched, limit_concurrency=3) as (port, server), ExitStack() as stack:
        for _ in range(3):
            working = stack.enter_context(connected(port))
            working.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: sum(each.is_responding for each in server.server_state.connections) >= 2)
        assert b"503" in said(port, GET)
