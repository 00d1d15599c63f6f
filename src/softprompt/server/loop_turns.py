"""Turns of the event loop: requests that come at once are worked on one after the other, tenant by tenant.

What a request needs of the event loop (its body parsed and checked, its answer built) takes milliseconds. Without turns
a client with many requests at once has all of them worked on together, and whatever others wait for comes behind. A
tenant with nothing but requests would still keep a core from the model: while others come, it rests between two turns
for as long as the last one took. It knows no FastAPI.
"""

from __future__ import annotations

import asyncio

from softprompt.fair_queue import FairQueue
from softprompt.recent_tenants import RecentTenants

LONGEST = 0.005  # seconds after which the next turn is given though one has not ended: it may wait for something else


class LoopTurns:
    """Gives one turn after the other, next to the tenant that had fewest. For one event loop.

    The queue has no limit of its own: as many wait as there may be connections, each for one turn.
    """

    def __init__(self) -> None:
        self._queue: FairQueue[Turn] = FairQueue(2**31)
        self._current: Turn | None = None
        self._recent = RecentTenants()
        self._last = ""  # tenant that had a turn last
        self._began = self._rested = 0.0  # when it began, and until when its tenant rests
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    def _add(self, tenant: str, turn: Turn) -> None:
        self._recent.add(tenant)
        self._queue.add(tenant, turn)
        if self._current is None:
            self._give()

    def _end(self, turn: Turn) -> None:
        if self._current is turn:
            self._take_away()

    def _take_away(self) -> None:
        """End the turn that runs, whoever has it."""
        self._current = None
        now = asyncio.get_running_loop().time()
        self._rested = now + (now - self._began) if self._recent.has_others([self._last]) else now
        self._give()

    def _give(self) -> None:
        """Give the next turn; to the tenant that had the last one, once it has rested."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        while self._queue and self._current is None:
            tenant, turn = self._queue.peek()
            if tenant == self._last and loop.time() < self._rested:
                self._timer = loop.call_at(self._rested, self._give)
                return
            self._queue.take()
            if turn.begin():
                self._current, self._last, self._began = turn, tenant, loop.time()
                self._timer = loop.call_later(LONGEST, self._take_away)


class Turn:
    """A request's turns: one until it waits for the model, another one to answer.

    Args:
        turns: that it takes its own from.
        tenant: whose request it is.
    """

    def __init__(self, turns: LoopTurns, tenant: str):
        self._turns, self._tenant = turns, tenant
        self._beginning: asyncio.Future[None] | None = None

    async def take(self) -> None:
        """Wait for a turn, which lasts until it is ended."""
        self._beginning = asyncio.get_running_loop().create_future()
        self._turns._add(self._tenant, self)
        await self._beginning

    def end(self) -> None:
        """Let others have theirs; nothing happens where none was taken, or it was taken away."""
        self._turns._end(self)

    def begin(self) -> bool:
        """Go on; False where whoever waited has gone away."""
        assert self._beginning is not None
        is_wanted = not self._beginning.done()
        if is_wanted:
            self._beginning.set_result(None)
        return is_wanted
