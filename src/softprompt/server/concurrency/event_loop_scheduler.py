"""Fair scheduling of the event loop: concurrent requests are handled one at a time, tenants in turn.

The work of a request on the event loop (parsing and validating the body, building the response) takes milliseconds.
Without turns, a burst of requests of one tenant would delay all others. A tenant with a constant stream of requests
could still occupy a core that the model needs. So while other tenants have requests, a tenant rests between two turns
for as long as its last turn took. Independent of FastAPI.
"""

from __future__ import annotations

import asyncio

from softprompt.fair_queue import FairQueue
from softprompt.recent_tenants import RecentTenants

# The next turn is granted after this time even if the current one has not ended: it may wait for I/O.
MAX_TURN_S = 0.005


class EventLoopScheduler:
    """A scheduler that grants one turn at a time, next to the tenant with the fewest turns. For one event loop.

    The queue is unbounded: every connection waits for at most one turn.
    """

    def __init__(self) -> None:
        self._queue: FairQueue[EventLoopTurn] = FairQueue(2**31)
        self._current: EventLoopTurn | None = None
        self._recent = RecentTenants()
        self._last_tenant = ""  # tenant of the last turn
        self._turn_start = self._rest_until = 0.0  # start of the last turn, and end of its tenant's rest
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of waiting turns."""
        return len(self._queue)

    def _add_turn(self, tenant: str, turn: EventLoopTurn) -> None:
        self._recent.add_request(tenant)
        self._queue.put(tenant, turn)
        if self._current is None:
            self._grant_next_turn()

    def _end_turn(self, turn: EventLoopTurn) -> None:
        if self._current is turn:
            self._revoke_turn()

    def _revoke_turn(self) -> None:
        """End the current turn."""
        self._current = None
        now = asyncio.get_running_loop().time()
        self._rest_until = now + (now - self._turn_start) if self._recent.has_others([self._last_tenant]) else now
        self._grant_next_turn()

    def _grant_next_turn(self) -> None:
        """Grant the next turn; the tenant of the last turn has to rest first."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        while self._queue and self._current is None:
            tenant, turn = self._queue.peek()
            if tenant == self._last_tenant and loop.time() < self._rest_until:
                self._timer = loop.call_at(self._rest_until, self._grant_next_turn)
                return
            self._queue.get()
            if turn.start_turn():
                self._current, self._last_tenant, self._turn_start = turn, tenant, loop.time()
                self._timer = loop.call_later(MAX_TURN_S, self._revoke_turn)


class EventLoopTurn:
    """The turns of a request: one until the request waits for the model, another one to respond.

    Args:
        scheduler: scheduler of the event loop.
        tenant: tenant of the request.
    """

    def __init__(self, scheduler: EventLoopScheduler, tenant: str):
        self._scheduler, self._tenant = scheduler, tenant
        self._granted: asyncio.Future[None] | None = None

    async def wait_turn(self) -> None:
        """Wait for a turn, which lasts until `end_turn`."""
        self._granted = asyncio.get_running_loop().create_future()
        self._scheduler._add_turn(self._tenant, self)
        await self._granted

    def end_turn(self) -> None:
        """End the turn. No-op without a current turn."""
        self._scheduler._end_turn(self)

    def start_turn(self) -> bool:
        """Start the turn; False if the waiting request was cancelled."""
        assert self._granted is not None
        is_waiting = not self._granted.done()
        if is_waiting:
            self._granted.set_result(None)
        return is_waiting
