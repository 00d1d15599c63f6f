"""How much each tenant may ask: rows a minute, and rows at once. It knows no FastAPI, and is given its clock.

A row is a response (each of the `n` of each text) or a text of a classification; a request without any counts as one. A
tenant's bucket holds as many rows as it may ask for in a minute, and fills again evenly. A bucket that is full is like
one that was never there, so it is forgotten: what is kept is of tenants that asked within the last minute.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from softprompt.server.refusal import Refusal

MINUTE = 60.0


class TooManyRequests(Refusal):
    """A tenant asks more than it may.

    Args:
        problem: what it has too much of.
        seconds: after how many it may try again.
    """

    def __init__(self, problem: str, seconds: float):
        self.seconds = max(1, math.ceil(seconds))
        message = f"{problem}: try again in {self.seconds} s"
        headers = {"Retry-After": str(self.seconds)}
        super().__init__(429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers)


@dataclass
class _Account:
    """What a tenant has left.

    Attributes:
        left: rows, at the moment `at`.
        at: when that was, by the clock.
        running: rows that have begun and not ended.
    """

    left: float
    at: float
    running: int = 0


class TooManyRows(Refusal):
    """A request asks for more than a tenant may have altogether: to try again is of no use.

    Args:
        rows: that it asks for.
        most: that a tenant may have.
        period: when.
    """

    def __init__(self, rows: int, most: int, period: str):
        message = f"{rows} responses or texts in one request, and a tenant may have {most} {period}: ask for fewer."
        super().__init__(400, message, code="too_many_rows")


class Held:
    """A request that runs, and the rows that it counts as: one until it is known how many it asks for.

    Args:
        limits: that it counts against.
        account: of its tenant.
    """

    def __init__(self, limits: Limits, account: _Account):
        self._limits, self._account = limits, account
        self.rows = 1

    def count_rows(self, rows: int) -> None:
        """Count the rows that it asks for.

        Raises:
            TooManyRequests: they are too many now.
            TooManyRows: they are too many at any time.
        """
        if rows > self.rows:
            self._limits._take(self._account, rows - self.rows, rows)
            self.rows = rows


class Limits:
    """The same limits for every tenant, each for itself. Threads may share it.

    Args:
        a_minute: how many rows a tenant may begin in a minute, and at once after one; None for any number.
        at_once: how many may run; None for any number.
        tenants: of how many to keep count. Beyond them, the one that has not asked for longest begins anew.
        clock: gives seconds, from whenever.
    """

    def __init__(
        self,
        a_minute: int | None = None,
        at_once: int | None = None,
        tenants: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.a_minute, self.at_once, self.tenants, self._clock = a_minute, at_once, tenants, clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()  # who asked last stands last
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, tenant: str) -> Iterator[Held]:
        """One request of the tenant's, as long as it runs.

        Raises:
            TooManyRequests: it may not begin now.
        """
        with self._lock:
            account = self._filled(tenant)
            self._check_and_count(account, 1)
        held = Held(self, account)
        try:
            yield held
        except TooManyRequests:
            with self._lock:
                account.left += held.rows  # it is refused whole, so it costs nothing
            raise
        finally:
            with self._lock:
                account.running -= held.rows

    def running(self, tenant: str) -> int:
        """How many rows of a tenant run."""
        with self._lock:
            account = self._accounts.get(tenant)
            return 0 if account is None else account.running

    def __len__(self) -> int:
        """Of how many tenants count is kept."""
        return len(self._accounts)

    def _take(self, account: _Account, more: int, rows: int) -> None:
        """Count so many more rows of a request that runs and asks for so many altogether."""
        if self.at_once is not None and rows > self.at_once:
            raise TooManyRows(rows, self.at_once, "at once")
        if self.a_minute is not None and rows > self.a_minute:
            raise TooManyRows(rows, self.a_minute, "in a minute")
        with self._lock:
            self._fill(account)
            self._check_and_count(account, more)

    def _check_and_count(self, account: _Account, rows: int) -> None:
        if self.at_once is not None and account.running + rows > self.at_once:
            problem = f"{account.running} responses or texts are being worked on, and a tenant may have {self.at_once}"
            raise TooManyRequests(f"{problem} at once", 1.0)
        if self.a_minute is not None:
            if account.left < rows:
                missing = rows - account.left
                problem = f"more than {self.a_minute} responses or texts in a minute"
                raise TooManyRequests(problem, missing * MINUTE / self.a_minute)
            account.left -= rows
        account.running += rows

    def _filled(self, tenant: str) -> _Account:
        """The tenant's account as it is now."""
        account = self._accounts.get(tenant)
        if account is None:
            now = self._clock()
            self._forget(now)
            account = self._accounts[tenant] = _Account(float(self.a_minute or 0), now)
        self._fill(account)
        self._accounts.move_to_end(tenant)
        return account

    def _fill(self, account: _Account) -> None:
        """What has flowed into an account's bucket since it was looked at."""
        now, full = self._clock(), float(self.a_minute or 0)
        account.left = min(full, account.left + (now - account.at) * full / MINUTE)
        account.at = now

    def _forget(self, now: float) -> None:
        """Make room for one more: up to two go whose buckets are full again, or who have not asked for longest."""
        for _ in range(2):
            oldest = next((name for name, account in self._accounts.items() if not account.running), None)
            if oldest is None or (now - self._accounts[oldest].at < MINUTE and len(self._accounts) < self.tenants):
                return
            del self._accounts[oldest]
