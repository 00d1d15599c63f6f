"""The HTTP client for replicas, without a limit of connections."""

from __future__ import annotations

import os

import httpx2

CONNECT_TIMEOUT_S = 3.0  # seconds to connect to a replica
API_KEY_VARIABLE = "VLLM_API_KEY"  #: environment variable of vLLM's own API key


def create_http_client() -> httpx2.AsyncClient:
    """Create the HTTP client. Proxies are ignored, and timeouts of responses are the caller's.

    The client raises `httpx2.TransportError` if a replica cannot be reached.
    """
    return httpx2.AsyncClient(
        headers={"authorization": f"Bearer {key}"} if (key := os.environ.get(API_KEY_VARIABLE)) else {},
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
        trust_env=False,
        transport=_ReplicaTransport(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=128, keepalive_expiry=4.0),
            trust_env=False,
        ),
    )


class _ReplicaTransport(httpx2.AsyncHTTPTransport):
    """A transport that reports replicas that disconnect while a connection is made.

    uvloop drops the socket of a closed connection, and anyio then reads the socket's peer. The result is an
    AttributeError, which clients do not expect.
    """

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except AttributeError as error:
            raise httpx2.ConnectError(
                "the replica disconnected during the connection attempt", request=request
            ) from error
