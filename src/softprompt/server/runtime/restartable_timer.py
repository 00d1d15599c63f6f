"""A timer that can be restarted and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class RestartableTimer:
    """A timer that calls a function once after a delay.

    Args:
        loop: event loop of the timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether the timer was started and has neither fired nor been stopped."""
        return self._handle is not None

    def start(self, seconds: float, callback: Callable[[], None]) -> None:
        """Start or restart the timer."""
        self.stop()
        self._handle = self._loop.call_later(seconds, self._fire, callback)

    def stop(self) -> None:
        """Stop the timer without a call."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self, callback: Callable[[], None]) -> None:
        self._handle = None
        callback()
