"""A job for another thread, with the future of its result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class QueuedJob:
    """A job that runs once.

    Attributes:
        function: work of the job.
        future: receives the result or the exception.
    """

    function: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)

    def run_job(self) -> None:
        """Run the job unless it was cancelled before."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.function())
            except BaseException as error:  # re-raised where the future is awaited
                self.future.set_exception(error)
