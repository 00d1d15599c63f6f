"""Fair scheduling of the event loop: concurrent requests are handled one at a time, tenants in turn.

The work of a request on the event loop (parsing and validating the body, building the response) takes milliseconds.
Without turns, a burst of requests of one tenant would delay all others. A tenant with a constant stream of requests
would still delay the model. So a tenant has its next turn once its time budget allows it. Independent of FastAPI.
"""

from __future__ import annotations

import asyncio

from softprompt.fair_queue import FairQueue
from softprompt.server.concurrency.python_time_budget import PythonTimeBudget

# The next turn is granted after this time even if the current one has not ended: it may wait for I/O.
MAX_TURN_S = 0.005


class EventLoopScheduler:
    """A scheduler that grants one turn at a time, next to the tenant with the fewest turns. For one event loop.

    The queue is unbounded: every connection waits for at most one turn.

    Args:
        time_budget: decides how long a tenant waits for its next turn; None for a budget of its own.
    """

    def __init__(self, time_budget: PythonTimeBudget | None = None) -> None:
        self.time_budget = PythonTimeBudget() if time_budget is None else time_budget
        self._queue: FairQueue[EventLoopTurn] = FairQueue(2**31)
        self._current: EventLoopTurn | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of waiting turns."""
        return len(self._queue)

    def _add_turn(self, tenant: str, turn: EventLoopTurn) -> None:
        self.time_budget.add_request(tenant)
        self._queue.put(tenant, turn)
        if self._current is None:
            self._grant_next_turn()

    def _end_turn(self, turn: EventLoopTurn) -> None:
        if self._current is turn:
            self._revoke_turn()

    def _revoke_turn(self) -> None:
        """End the current turn."""
        self._current = None
        self._grant_next_turn()

    def _grant_next_turn(self) -> None:
        """Grant the next turn, as soon as a waiting tenant's budget allows it."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        while self._queue and self._current is None:
            tenant, wait_s = self._find_next_tenant()
            if wait_s:
                self._timer = loop.call_later(wait_s, self._grant_next_turn)
                return
            turn = self._queue.get_from_tenant(tenant)
            if turn.start_turn():
                self._current = turn
                self._timer = loop.call_later(MAX_TURN_S, self._revoke_turn)

    def _find_next_tenant(self) -> tuple[str, float]:
        """Return the tenant of the next turn, and the seconds until its turn may start."""
        tenant, _ = self._queue.peek()
        if self.time_budget.get_wait(tenant):
            tenant = min(
                self._queue.waiting_tenants,
                key=lambda name: (self.time_budget.get_wait(name), self._queue.get_tenant_service(name)),
            )
        return tenant, self.time_budget.get_wait(tenant)


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
