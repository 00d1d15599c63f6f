"""Connections of the HTTP client between a gateway and its replicas."""

from __future__ import annotations

import asyncio
import socket

from softprompt.server.backends.vllm.replica_http_client import create_http_client


def test_requests_to_replicas_are_sent_without_delay() -> None:
    """Nagle's algorithm is off towards replicas, too."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def is_nagle_off() -> bool:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        async with server, create_http_client() as asking, asking.stream("GET", f"http://{host}:{port}/") as response:
            connected = response.extensions["network_stream"].get_extra_info("socket")
            is_off = bool(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            await response.aread()
            return is_off

    assert asyncio.run(is_nagle_off())
