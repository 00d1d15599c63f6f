"""A connection, as uvicorn runs it, that is not held open for nothing: uvicorn itself waits for ever.

A client that sends no request, or the half of one, is closed, and so is one that takes next to nothing of what it asked
for. Where there are as many connections as there may be, the one that has asked nothing for longest makes room.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from softprompt.server.clock import Clock
from softprompt.server.strict_parsing import StrictParsing

SLOWEST = 1024  # bytes a second that a client must take of an answer


class Connection(StrictParsing):
    """A connection with two clocks: one until a request's headers are there, one while the client leaves much unread.

    Attributes:
        header_seconds: how long a request's headers may take.
        unread_seconds: how often it is looked whether the client has read enough of what is there for it.
        idle_since: when its last answer was complete, by the loop's clock.
    """

    header_seconds = 10.0
    unread_seconds = 60.0

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        self._headers, self._unread = Clock(self.loop), Clock(self.loop)
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # so whatever is left unread is known, not 64 KiB of it alone
        self.idle_since = self.loop.time()
        self._headers.start(self.header_seconds, transport.abort)
        self._make_room()

    def on_response_complete(self) -> None:
        """An answer is complete."""
        super().on_response_complete()
        self.idle_since = self.loop.time()

    def pause_writing(self) -> None:
        """It leaves something unread."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """It has read all of it."""
        super().resume_writing()
        self._unread.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._headers.stop()
        self._unread.stop()

    def _parse(self) -> None:
        super()._parse()
        if self.is_answering or self.transport.is_closing():
            self._headers.stop()
        elif not self._headers.is_running:
            self._headers.start(self.header_seconds, self.transport.abort)

    def _expect_reading(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread.start(self.unread_seconds, partial(self._check_reading, left))

    def _check_reading(self, left: int) -> None:
        """Give it up if it has not read enough since so many bytes were left."""
        if left - self.transport.get_write_buffer_size() < SLOWEST * self.unread_seconds:
            self.transport.abort()
        else:
            self._expect_reading()

    def _make_room(self) -> None:
        """Close those that have asked nothing for longest, as long as there are too many."""
        while self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            others = (each for each in self.connections if isinstance(each, Connection) and each is not self)
            idle = min((each for each in others if not each.is_answering), key=_idle_since, default=None)
            if idle is None:
                return
            self.connections.discard(idle)
            idle.transport.abort()


def _idle_since(connection: Connection) -> float:
    return connection.idle_since
