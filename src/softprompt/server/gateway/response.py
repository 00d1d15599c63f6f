"""One response that a replica writes, as the engine itself would tell it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from softprompt.engine import End, Request, Written
from softprompt.engine.text import Writer
from softprompt.server.backend import Hear
from softprompt.server.failures import Failed
from softprompt.server.fair_limit import FairLimit
from softprompt.server.gateway import bodies
from softprompt.server.gateway.refusals import BrokenOff
from softprompt.server.gateway.replica import Replica
from softprompt.server.gateway.replicas import Replicas
from softprompt.server.gateway.told import Chunk, Lost, NotFinite, Token, cached, chunk
from softprompt.server.refusal import Refusal

logger = logging.getLogger(__name__)


class Response:
    """A response that is being written.

    When its replica is lost, another one writes it again from the beginning: what was told already is compared and not
    told again, so nobody notices; where it differs, nobody can go on with it, and it ends with an error. With the same
    seed the same is written, but for what rounding decides.

    Args:
        request: what is asked.
        positions: that the prompt takes in front of it.
        replicas: write it.
        turns: let it begin when it is its tenant's turn.
        decode: from tokens to their text.
        eos_token_ids: those that end it.
        hear: is told.

    Attributes:
        tenant: who asks.
        reused: tokens of the text that the replica had read before; known at the end.
    """

    def __init__(
        self,
        request: Request,
        positions: int,
        replicas: Replicas,
        turns: FairLimit,
        decode: Callable[[list[int]], str],
        eos_token_ids: Sequence[int],
        hear: Hear,
    ):
        self._request, self._positions, self._replicas, self._hear = request, positions, replicas, hear
        self._turns = turns
        self.tenant, self.reused = request.tenant, 0
        self._body = bodies.writing(request, positions, eos_token_ids)
        self._ends = () if request.sampling.ignore_eos else eos_token_ids
        self._key = bodies.key(request.tenant, bodies.digits(request.prompt or ""))
        self._writer = Writer(decode, request.sampling.stop)
        self._told: list[int] = []
        self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        """Nobody wants it any more: its stream is closed, and so the replica stops."""
        self._task.cancel()

    def end(self, refusal: Refusal) -> None:
        """It has to end, if it has not."""
        if not self._task.done():
            self._hear(refusal)
            self._task.cancel()

    def when_over(self, call: Callable[[Response], None]) -> None:
        """Have something called when it is over, however it ended."""
        self._task.add_done_callback(lambda _: call(self))

    async def _run(self) -> None:
        try:
            await self._in_time()
        except Refusal as refusal:
            self._hear(BrokenOff() if self._told and refusal.status >= 500 else refusal)
        except NotFinite:
            self._hear(Written(None, "", End.OVERFLOW))
        except Exception:
            logger.exception("a response failed")
            self._hear(Failed())

    async def _in_time(self) -> None:
        try:
            async with asyncio.timeout_at(self._request.deadline) as scope, self._turns.holding(self.tenant):
                await self._replicas.do(self._key, self._written)
        except TimeoutError:
            if not scope.expired():
                raise
            self._hear(Written(None, self._writer.rest(), End.DEADLINE))

    async def _written(self, replica: Replica) -> None:
        """All of it, by one replica."""
        again, last = iter(self._told[:]), None
        try:
            async with replica.streamed(self._body) as events:
                async for event in events:
                    new = chunk(event, self._request.sampling.logprobs)
                    if new is None:
                        self.reused = max(0, cached(event) - self._positions)
                    elif last is None:
                        last = self._take(new, again)
                    if self._writer.is_stopped:
                        break
        except Lost:
            if last is None:
                raise
        if last is None:
            raise Lost("the stream ended before the response did")
        self._hear(last)

    def _take(self, new: Chunk, again: Iterator[int]) -> Written | None:
        """Tell what is new, but for the end; that is given back.

        Args:
            new: what the replica said.
            again: what was told before this replica began, as far as it has not said it.

        Raises:
            BrokenOff: it says something else.
        """
        for left, token in zip(range(len(new.tokens) - 1, -1, -1), new.tokens, strict=True):
            if (before := next(again, None)) is None:
                written = self._next(token, None if left else new.end)
                if written.end is not None:
                    return written
                self._hear(written)
            elif before != token.id:
                raise BrokenOff
        if new.end is None:
            return None
        if next(again, None) is not None:
            raise BrokenOff
        return Written(None, self._writer.rest(), new.end)

    def _next(self, token: Token, end: End | None) -> Written:
        """A token, with the text that is certain with it."""
        is_end = end is End.STOP and token.id in self._ends  # it is no part of the text
        text = "" if is_end else self._writer.add(token.id)
        self._told.append(token.id)
        if self._writer.is_stopped:
            end = End.STOP
        if end is not None:
            text += self._writer.rest()
        return Written(token.id, text, end, token.logprob, token.alternatives)
