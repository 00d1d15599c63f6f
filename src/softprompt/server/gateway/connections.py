"""How a gateway reaches its replicas: over HTTP, as many requests at once as there are."""

from __future__ import annotations

import os

import httpx2

CONNECT = 3.0  # seconds to reach a replica
KEY = "VLLM_API_KEY"  #: in the environment: the key that vLLM itself asks for, where it does


def client() -> httpx2.AsyncClient:
    """Asks, and through no proxy. How long an answer may take others say.

    What it raises when a replica is out of reach is an `httpx2.TransportError`.
    """
    return httpx2.AsyncClient(
        headers={"authorization": f"Bearer {key}"} if (key := os.environ.get(KEY)) else {},
        timeout=httpx2.Timeout(None, connect=CONNECT),
        trust_env=False,
        transport=_Transport(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=128, keepalive_expiry=4.0),
            trust_env=False,
        ),
    )


class _Transport(httpx2.AsyncHTTPTransport):
    """Says that a replica went away while it was connected to.

    uvloop forgets the socket of a connection that is gone, anyio asks that socket for its peer, and what comes of it is
    an AttributeError, which no client expects.
    """

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except AttributeError as error:
            raise httpx2.ConnectError("it went away while it was connected to", request=request) from error
