"""Connections to replicas where uvloop runs the server, as it does wherever it is installed with vLLM."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator

import httpx2
import pytest
import uvloop

from softprompt.server.backends.vllm.replica_http_client import create_http_client

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once and say so


@pytest.fixture
def leaving() -> Iterator[str]:
    """The address of a server that lets go of each connection as soon as it stands."""

    def leave() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        thread = threading.Thread(target=leave)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_replica_that_disconnects_during_the_connection_attempt_is_unreachable(leaving: str) -> None:
    async def asked() -> list[object]:
        async with create_http_client() as asking:
            found: list[object] = []
            for _ in range(20):
                found += await asyncio.gather(*(asking.get(leaving) for _ in range(50)), return_exceptions=True)
            return found

    failures = uvloop.run(asked())
    assert {type(each) for each in failures} <= {httpx2.ConnectError, httpx2.ReadError}
    assert any("disconnected during" in str(each) for each in failures), "no connection attempt was interrupted"
