"""One vLLM server: what is asked of it, what it says, and whether it may be used."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import httpx2

from softprompt.server.gateway.bodies import Body, canary
from softprompt.server.gateway.told import Declined, Lost, declined, events
from softprompt.server.metrics import Metrics

logger = logging.getLogger(__name__)

COMPLETIONS = "/v1/completions"
MOST_ERROR = 2**16  # bytes of an error that are read
PROBE = 5.0  # seconds that an answer to a probe may take
MISSED = 3  # probes in a row, by whose silence a replica that still takes connections is given up


class Replica:
    """A vLLM server.

    Args:
        url: its address, such as `http://10.0.0.7:8000`.
        client: asks.
        metrics: what is to be counted.

    Attributes:
        load: texts that it has to do for this gateway.
        window: positions that its rows may have; None before it said so.
        problem: why it is not used; None while it is.
    """

    def __init__(self, url: str, client: httpx2.AsyncClient, metrics: Metrics):
        self.url, self._client, self._metrics = url, client, metrics
        self.load = 0
        self.window: int | None = None
        self.problem: str | None = "it has not answered yet"
        self._missed = 0
        self._given_up = 0  # how often it was
        self._open: set[asyncio.Timeout] = set()

    @property
    def is_used(self) -> bool:
        """It answers, and only what it should."""
        return self.problem is None

    async def probe(self) -> None:
        """Look whether it may be used: it lives, and its guard refuses a prompt that nobody has."""
        given_up = self._given_up
        try:
            async with asyncio.timeout(PROBE):
                async with self._sent("GET", "/health"):
                    pass
                if self.window is None or not self.is_used:
                    self.window = await self._asked_window()
                problem = await self._guard()
        except (TimeoutError, Lost, Declined) as error:
            self._missed += 1
            if self.is_used and isinstance(error, TimeoutError) and self._missed < MISSED:
                return  # it may have much to do
            problem = str(error) or f"it has not answered within {PROBE:g} seconds"
        else:
            self._missed = 0
        if problem is not None:
            self.give_up(problem)
        elif given_up == self._given_up:  # else it has failed at something behind what was seen here
            self._use()

    def give_up(self, problem: str) -> None:
        """Use it no more until a probe finds it whole; what it has begun is begun elsewhere."""
        if problem != self.problem:
            logger.warning("%s is not used: %s", self.url, problem)
        self.problem, self.window = problem, None
        self._given_up += 1
        self._metrics.replica(self.url, is_used=False)
        open_, self._open = self._open, set()
        for each in open_:
            each.reschedule(0.0)

    def _use(self) -> None:
        if not self.is_used:
            logger.warning("%s is used from now on", self.url)
        self.problem = None
        self._metrics.replica(self.url, is_used=True)

    async def _asked_window(self) -> int:
        answer = await self._json("GET", "/v1/models")
        try:
            return int(answer["data"][0]["max_model_len"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Lost(f"it does not say how long rows may be, so it is no vLLM: {error!r}") from error

    async def _guard(self) -> str | None:
        """Why it would serve what it should not; None if it does not."""
        try:
            await self._json("POST", COMPLETIONS, canary())
        except Declined as error:
            if error.is_ours:
                return None
            return f"it is not guarded by softprompt's plugin, and says to a prompt that there is not: {error.message}"
        return "it is not guarded by softprompt's plugin: it answered behind a prompt that there is not"

    async def asked(self, body: Body, rows: int) -> dict[str, Any]:
        """A whole answer.

        Args:
            body: what is asked.
            rows: how many texts stand in it.

        Raises:
            Lost, Declined: there is none.
        """
        with self._busy(rows):
            async with self._as_long_as_it_lives():
                return await self._json("POST", COMPLETIONS, body)

    @asynccontextmanager
    async def streamed(self, body: Body) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The events of a stream; it ends there, too, when it is left.

        Raises:
            Lost, Declined: it does not begin, or breaks off.
        """
        with self._busy(1):
            async with (
                self._as_long_as_it_lives(),
                self._sent("POST", COMPLETIONS, body) as response,
                aclosing(events(response.aiter_bytes())) as found,
            ):
                yield found

    async def _json(self, method: str, path: str, body: Body | None = None) -> dict[str, Any]:
        async with self._sent(method, path, body) as response:
            content = await response.aread()
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise Lost(f"{path} is answered with no JSON") from error
        if not isinstance(answer, dict):
            raise Lost(f"{path} is answered with no object")
        return answer

    @asynccontextmanager
    async def _sent(self, method: str, path: str, body: Body | None = None) -> AsyncIterator[httpx2.Response]:
        try:
            async with self._client.stream(method, f"{self.url}{path}", json=body) as response:
                if response.status_code != httpx2.codes.OK:
                    raise declined(response.status_code, _read(await _beginning(response)))
                yield response
        except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
            raise Lost(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    @asynccontextmanager
    async def _as_long_as_it_lives(self) -> AsyncIterator[None]:
        """Have it end at once when the replica is given up."""
        try:
            async with asyncio.timeout(None) as scope:
                self._open.add(scope)
                try:
                    yield
                finally:
                    self._open.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            raise Lost(self.problem or "it was given up") from None

    @contextmanager
    def _busy(self, rows: int) -> Iterator[None]:
        self.load += rows
        self._metrics.replica_load(self.url, self.load)
        try:
            yield
        finally:
            self.load -= rows
            self._metrics.replica_load(self.url, self.load)


async def _beginning(response: httpx2.Response) -> bytes:
    content = b""
    async for part in response.aiter_bytes():
        content += part
        if len(content) > MOST_ERROR:
            break
    return content


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
