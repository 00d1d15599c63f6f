"""How many things may go on at a time; whoever waits is let in by turns, tenant by tenant. It knows no FastAPI."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from softprompt.fair_queue import FairQueue
from softprompt.server.failures import Busy


@dataclass(eq=False)
class _Turn:
    """Somebody who waits to be let in with so many things."""

    count: int
    future: asyncio.Future[None]


class FairLimit:
    """Lets so many in at a time, first of those who wait the tenant that has fewest in. For one event loop.

    Who comes with more than may be in is let in alone.

    Args:
        at_once: how many may be in, or what tells it.
        waiting: how many may wait, half of them of one tenant.
        reserve: how many of them one tenant never has: what others find free, whatever it does.
    """

    def __init__(self, at_once: int | Callable[[], int], waiting: int = 1024, reserve: int | Callable[[], int] = 0):
        self._at_once = at_once if callable(at_once) else lambda: at_once
        self._reserve = reserve if callable(reserve) else lambda: reserve
        self._queue: FairQueue[_Turn] = FairQueue(waiting)
        self._waiting: set[_Turn] = set()  # those in the queue
        self._inside = Counter[str]()
        self._total = 0

    def __len__(self) -> int:
        """How many are in."""
        return self._total

    @asynccontextmanager
    async def holding(self, tenant: str, count: int = 1) -> AsyncIterator[None]:
        """So many things of a tenant's, as long as they take.

        Raises:
            Busy: too many wait.
        """
        await self._enter(tenant, count)
        try:
            yield
        finally:
            self._leave(tenant, count)

    def admit(self) -> None:
        """Let in those that there is room for."""
        while self._queue:
            tenant, turn = self._queue.peek()
            if not self._has_room(tenant, turn.count):
                return
            self._queue.take()
            self._waiting.remove(turn)
            if not turn.future.cancelled():  # who gave up a moment ago is still there
                self._change(tenant, turn.count)
                turn.future.set_result(None)

    def _has_room(self, tenant: str, count: int) -> bool:
        at_once, own = self._at_once(), self._inside[tenant]
        fits = not self._total or self._total + count <= at_once
        return fits and (not own or own + count <= max(1, at_once - self._reserve()))

    async def _enter(self, tenant: str, count: int) -> None:
        if not self._queue and self._has_room(tenant, count):
            self._change(tenant, count)
            return
        turn = _Turn(count, asyncio.get_running_loop().create_future())
        if not self._queue.add(tenant, turn):
            raise Busy
        self._waiting.add(turn)
        self.admit()  # others may wait for what only they have no room for
        try:
            await turn.future
        except asyncio.CancelledError:
            if not turn.future.cancelled():  # it was let in at the same moment
                self._leave(tenant, count)
            elif turn in self._waiting:
                self._waiting.remove(turn)
                self._queue.remove(tenant, turn)
                self.admit()  # those behind it may have room
            raise

    def _leave(self, tenant: str, count: int) -> None:
        self._change(tenant, -count)
        self.admit()

    def _change(self, tenant: str, count: int) -> None:
        self._total += count
        self._inside[tenant] += count
        self._queue.set_held(tenant, float(self._inside[tenant]))
        if not self._inside[tenant]:
            del self._inside[tenant]
