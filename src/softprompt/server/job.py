"""Work that is handed in to a thread, and the future of whoever waits for its result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Job:
    """Something to be done once.

    Attributes:
        work: it.
        future: gets its result, or what it raised.
    """

    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> None:
        """Do it, unless it was cancelled before."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.work())
            except BaseException as error:  # passed on to whoever waits for it, whatever it is
                self.future.set_exception(error)
