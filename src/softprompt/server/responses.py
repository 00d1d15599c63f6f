"""The responses to one request as they are written: so many to each of its texts, all of them at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TypeVar

from starlette.requests import Request as HttpRequest

from softprompt.engine import End, Request, Sampling, Written
from softprompt.evaluation.responding import Trimmed
from softprompt.model import Payload
from softprompt.server.backend import Backend, Row
from softprompt.server.desk import Asked
from softprompt.server.failures import TooSlow, overflowing, stuck
from softprompt.server.input_names import naming_input
from softprompt.server.loop_turns import Turn
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal
from softprompt.server.tally import Use

T = TypeVar("T")

REASONS = {End.STOP: "stop", End.LENGTH: "length"}


@dataclass(frozen=True)
class Piece:
    """What is new of a response.

    Attributes:
        index: which of the request's responses.
        text: what is certain now.
        written: the token, with its probability if that was asked for.
        reason: why it was the last, in OpenAI's words, if it was.
    """

    index: int
    text: str
    written: Written
    reason: str | None


class Responses:
    """Responses that are being written. Closing it ends those that are not over, at once."""

    def __init__(
        self, asked: Sequence[Asked], n: int, name: str, tenant: str, deadline: float, metrics: Metrics, use: Use
    ):
        self._asked, self._n, self._name = asked, n, name
        self._trimmed = [Trimmed() if each.is_answer else None for each in asked for _ in range(n)]
        self._news: asyncio.Queue[tuple[int, Written | Refusal]] = asyncio.Queue()
        self._rows: list[Row] = []
        self._tenant, self._deadline, self._metrics, self._use = tenant, deadline, metrics, use
        self._told = [time.monotonic()] * len(self._trimmed)
        self._has_begun = [False] * len(self._trimmed)
        self._is_closed = False
        self.prompt_tokens = sum(each.num_tokens for each in asked)
        self.completion_tokens = 0

    @classmethod
    async def begin(
        cls,
        backend: Backend,
        asked: Sequence[Asked],
        names: Sequence[str],
        samplings: Sequence[Sequence[Sampling]],
        name: str,
        tenant: str,
        deadline: float,
        metrics: Metrics,
        use: Use,
    ) -> Responses:
        """Let each of the texts be answered in each of its ways, by what is called `name`.

        `names` are the texts' in the request.

        Raises:
            Busy: too many requests wait.
            SettingError: one is longer than a row may be.
        """
        responses = cls(asked, len(samplings[0]), name, tenant, deadline, metrics, use)
        end = time.monotonic() + deadline
        requests = [
            (Request(each.ids, sampling, tenant, end, each.prompt), each.payload)
            for each, ways in zip(asked, samplings, strict=True)
            for sampling in ways
        ]

        async def begin(index: int, request: Request, payload: Payload | None) -> Row:
            with naming_input(names[index // responses._n]):
                return await backend.begin(request, payload, partial(responses._hear, index))

        begun = await asyncio.gather(  # at once: each waits for the step that runs
            *(begin(index, *each) for index, each in enumerate(requests)), return_exceptions=True
        )
        responses._rows = [row for row in begun if not isinstance(row, BaseException)]
        if failures := [failure for failure in begun if isinstance(failure, BaseException)]:
            responses.close()
            raise failures[0]
        return responses

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._rows)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the texts that were not read anew; of a text with several responses, by its first."""
        first = self._rows[:: self._n]
        return sum(each.text_tokens(row.reused) for each, row in zip(self._asked, first, strict=True))

    async def pieces(self) -> AsyncIterator[Piece]:
        """What is written, as it is.

        Raises:
            Refusal: it cannot be gone on with, or took too long.
        """
        open_ = self.count
        while open_:
            index, news = await self._news.get()
            if isinstance(news, Refusal):
                raise news
            if news.end in (End.DEADLINE, End.OVERFLOW, End.STUCK):
                raise self._refusal(news.end)
            if news.token is not None:
                self._count(index)
            reason = None if news.end is None else REASONS.get(news.end, "stop")
            open_ -= reason is not None
            trimmed = self._trimmed[index]
            yield Piece(index, news.text if trimmed is None else trimmed.add(news.text), news, reason)

    def _refusal(self, end: End) -> Refusal:
        """What it means that a response ended without being finished."""
        if end is End.DEADLINE:
            return TooSlow(self._deadline)
        return overflowing(self._name) if end is End.OVERFLOW else stuck()

    async def whole(self) -> list[list[Piece]]:
        """All pieces of each, once all of them are over.

        Raises:
            Refusal: one cannot be gone on with, or took too long.
        """
        pieces: list[list[Piece]] = [[] for _ in self._rows]
        async for piece in self.pieces():
            pieces[piece.index].append(piece)
        return pieces

    def close(self) -> None:
        """Nobody wants them any more."""
        for row in self._rows:
            row.close()
        if not self._is_closed:
            self._metrics.tokens(self._tenant, self.prompt_tokens, self.completion_tokens)
            self._use.request(self.prompt_tokens, self.completion_tokens)
        self._is_closed = True

    def __enter__(self) -> Responses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _count(self, index: int) -> None:
        """Another token of a response."""
        self.completion_tokens += 1
        now = time.monotonic()
        observe = self._metrics.between_tokens if self._has_begun[index] else self._metrics.first_token
        observe(now - self._told[index])
        if not self._has_begun[index]:
            self._use.first_token(now - self._told[index])
        self._told[index], self._has_begun[index] = now, True

    def _hear(self, index: int, news: Written | Refusal) -> None:
        self._news.put_nowait((index, news))


async def unless_gone(request: HttpRequest, work: Awaitable[T]) -> T:
    """What some work gives, unless the client goes away first: then it is ended. Meanwhile others have the event loop.

    Raises:
        Refusal: the client has gone, so nobody reads this.
    """
    turn: Turn = request.state.turn
    turn.end()
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            result = working.result()
            await turn.take()
            return result
        raise Refusal(499, "The client has gone away.")
    finally:
        working.cancel()
        going.cancel()


async def _gone(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
