"""Client of one vLLM server, with health checks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import httpx2

from softprompt.server.backends.vllm.replica_request_body import RequestBody, build_guard_probe_body
from softprompt.server.backends.vllm.replica_response_parser import (
    ReplicaConnectionError,
    ReplicaStatusError,
    iter_sse_events,
    parse_error,
)
from softprompt.server.backends.vllm.shared_step_limit import SharedStepLimit
from softprompt.server.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

COMPLETIONS_PATH = "/v1/completions"
MAX_ERROR_BYTES = 2**16  # bytes that are read of an error response
PROBE_TIMEOUT_S = 5.0  # seconds for the response to a probe
MAX_MISSED_PROBES = 3  # consecutive timeouts after which a replica that accepts connections is unhealthy


class ReplicaClient:
    """A client of one vLLM server.

    Args:
        url: base URL of the server, such as `http://10.0.0.7:8000`.
        client: HTTP client.
        metrics: metrics of the gateway.

    Attributes:
        load: sequences that the replica runs for this gateway.
        step_limit: limit on a tenant's tokens in a step while other tenants are active.
        max_model_len: maximum positions of a sequence on the replica; None if unknown.
        unhealthy_reason: why the replica receives no requests; None while it is healthy.
    """

    def __init__(self, url: str, client: httpx2.AsyncClient, metrics: ServerMetrics):
        self.url, self._client, self._metrics = url, client, metrics
        self.load = 0
        self._step_tokens: list[Callable[[], int]] = []  # of the running requests
        self.step_limit = SharedStepLimit()
        self.max_model_len: int | None = None
        self.unhealthy_reason: str | None = "no response so far"
        self._missed_probes = 0
        self._num_failures = 0  # number of times that the replica became unhealthy
        self._open_timeouts: set[asyncio.Timeout] = set()

    @property
    def is_healthy(self) -> bool:
        """Whether the replica receives requests."""
        return self.unhealthy_reason is None

    async def probe_health(self) -> None:
        """Probe the replica: it must be alive, and its plugin must reject a prompt that does not exist."""
        num_failures = self._num_failures
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                async with self._send_request("GET", "/health"):
                    pass
                if self.max_model_len is None or not self.is_healthy:
                    self.max_model_len = await self._fetch_max_model_len()
                reason = await self._check_plugin_guard()
        except (TimeoutError, ReplicaConnectionError, ReplicaStatusError) as error:
            self._missed_probes += 1
            if self.is_healthy and isinstance(error, TimeoutError) and self._missed_probes < MAX_MISSED_PROBES:
                return  # the replica may be busy
            reason = str(error) or f"no response within {PROBE_TIMEOUT_S:g} seconds"
        else:
            self._missed_probes = 0
        if reason is not None:
            self.mark_unhealthy(reason)
        elif num_failures == self._num_failures:  # otherwise a request failed during the probe
            self._mark_healthy()

    def mark_unhealthy(self, reason: str) -> None:
        """Stop sending requests until a probe succeeds; running requests fail over to other replicas."""
        if reason != self.unhealthy_reason:
            logger.warning("replica %s is unhealthy: %s", self.url, reason)
        self.unhealthy_reason, self.max_model_len = reason, None
        self._num_failures += 1
        self._metrics.set_replica_up(self.url, is_up=False)
        open_timeouts, self._open_timeouts = self._open_timeouts, set()
        for timeout in open_timeouts:
            timeout.reschedule(0.0)

    def _mark_healthy(self) -> None:
        if not self.is_healthy:
            logger.warning("replica %s is healthy", self.url)
        self.unhealthy_reason = None
        self._metrics.set_replica_up(self.url, is_up=True)

    async def _fetch_max_model_len(self) -> int:
        response = await self._request_json("GET", "/v1/models")
        try:
            return int(response["data"][0]["max_model_len"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ReplicaConnectionError(
                f"/v1/models has no max_model_len, so the server is not vLLM: {error!r}"
            ) from error

    async def _check_plugin_guard(self) -> str | None:
        """Return why the replica is not protected by softprompt's plugin; None if it is."""
        try:
            await self._request_json("POST", COMPLETIONS_PATH, build_guard_probe_body())
        except ReplicaStatusError as error:
            if error.is_from_plugin:
                return None
            return (
                f"softprompt's plugin is not active; the response to a prompt that does not exist was: {error.message}"
            )
        return "softprompt's plugin is not active: the replica accepted a prompt that does not exist"

    async def request_completion(self, body: RequestBody, num_sequences: int, num_step_tokens: int) -> dict[str, Any]:
        """Request a complete response.

        Args:
            body: body of the request.
            num_sequences: number of sequences in the request.
            num_step_tokens: tokens of the sequences in a step.

        Raises:
            ReplicaConnectionError, ReplicaStatusError: the request failed.
        """
        with self._track_load(num_sequences, lambda: num_step_tokens):
            async with self._cancel_when_unhealthy():
                return await self._request_json("POST", COMPLETIONS_PATH, body)

    @asynccontextmanager
    async def stream_completion(
        self, body: RequestBody, get_step_tokens: Callable[[], int]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Stream a response as events; leaving the context stops the replica.

        Args:
            body: body of the request.
            get_step_tokens: returns the tokens of the sequence in the next step.

        Raises:
            ReplicaConnectionError, ReplicaStatusError: the stream does not start, or breaks off.
        """
        with self._track_load(1, get_step_tokens):
            async with (
                self._cancel_when_unhealthy(),
                self._send_request("POST", COMPLETIONS_PATH, body) as response,
                aclosing(iter_sse_events(response.aiter_bytes())) as events,
            ):
                yield events

    async def _request_json(self, method: str, path: str, body: RequestBody | None = None) -> dict[str, Any]:
        async with self._send_request(method, path, body) as response:
            content = await response.aread()
        try:
            result = json.loads(content)
        except ValueError as error:
            raise ReplicaConnectionError(f"the response of {path} is not JSON") from error
        if not isinstance(result, dict):
            raise ReplicaConnectionError(f"the response of {path} is not a JSON object")
        return result

    @asynccontextmanager
    async def _send_request(
        self, method: str, path: str, body: RequestBody | None = None
    ) -> AsyncIterator[httpx2.Response]:
        try:
            async with self._client.stream(method, f"{self.url}{path}", json=body) as response:
                if response.status_code != httpx2.codes.OK:
                    raise parse_error(response.status_code, _parse_json(await _read_error_body(response)))
                yield response
        except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
            raise ReplicaConnectionError(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    @asynccontextmanager
    async def _cancel_when_unhealthy(self) -> AsyncIterator[None]:
        """Cancel the context at once when the replica becomes unhealthy."""
        try:
            async with asyncio.timeout(None) as scope:
                self._open_timeouts.add(scope)
                try:
                    yield
                finally:
                    self._open_timeouts.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            raise ReplicaConnectionError(self.unhealthy_reason or "the replica became unhealthy") from None

    @property
    def step_tokens(self) -> int:
        """Tokens of all running sequences in the next step."""
        return sum(get_step_tokens() for get_step_tokens in self._step_tokens)

    @contextmanager
    def _track_load(self, num_sequences: int, get_step_tokens: Callable[[], int]) -> Iterator[None]:
        self.load += num_sequences
        self._step_tokens.append(get_step_tokens)
        self._metrics.set_replica_load(self.url, self.load)
        try:
            yield
        finally:
            self.load -= num_sequences
            self._step_tokens.remove(get_step_tokens)
            self._metrics.set_replica_load(self.url, self.load)


async def _read_error_body(response: httpx2.Response) -> bytes:
    content = b""
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ERROR_BYTES:
            break
    return content


def _parse_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
