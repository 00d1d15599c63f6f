"""How many things may go on at a time; whoever waits is let in by turns, tenant by tenant. It knows no FastAPI."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from softprompt.fair_queue import FairQueue
from softprompt.server.failures import Busy


class FairLimit:
    """Lets so many in at a time, first of those who wait the tenant that has fewest in. For one event loop.

    Args:
        at_once: how many may be in.
        waiting: how many may wait, half of them of one tenant.
    """

    def __init__(self, at_once: int, waiting: int = 1024):
        self._free = at_once
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(waiting)
        self._waiting: set[asyncio.Future[None]] = set()  # those in the queue
        self._inside = Counter[str]()

    @asynccontextmanager
    async def holding(self, tenant: str) -> AsyncIterator[None]:
        """One of them, as long as it takes.

        Raises:
            Busy: too many wait.
        """
        await self._enter(tenant)
        try:
            yield
        finally:
            self._leave(tenant)

    async def _enter(self, tenant: str) -> None:
        if self._free:
            self._let_in(tenant)
            return
        turn = asyncio.get_running_loop().create_future()
        if not self._queue.add(tenant, turn):
            raise Busy
        self._waiting.add(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was let in at the same moment
                self._leave(tenant)
            elif turn in self._waiting:
                self._waiting.remove(turn)
                self._queue.remove(tenant, turn)
            raise

    def _let_in(self, tenant: str) -> None:
        self._free -= 1
        self._count(tenant, 1)

    def _leave(self, tenant: str) -> None:
        self._free += 1
        self._count(tenant, -1)
        while self._queue and self._free:
            following, turn = self._queue.take()
            self._waiting.remove(turn)
            if not turn.cancelled():  # who gave up a moment ago is still there
                self._let_in(following)
                turn.set_result(None)

    def _count(self, tenant: str, change: int) -> None:
        self._inside[tenant] += change
        self._queue.set_held(tenant, float(self._inside[tenant]))
        if not self._inside[tenant]:
            del self._inside[tenant]
