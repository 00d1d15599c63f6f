"""A timer that is started and stopped, and says by itself whether it runs. It knows nothing of what it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Clock:
    """Calls something once, so many seconds after it was started.

    Args:
        loop: where it is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """It was started, and neither stopped nor over."""
        return self._handle is not None

    def start(self, seconds: float, end: Callable[[], None]) -> None:
        """Begin, or begin anew."""
        self.stop()
        self._handle = self._loop.call_later(seconds, self._end, end)

    def stop(self) -> None:
        """Call nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _end(self, end: Callable[[], None]) -> None:
        self._handle = None
        end()
