"""A connection, as uvicorn runs it, that is not held open for nothing: uvicorn itself waits for ever, twice.

A client that sends no request, or the half of one, is closed, and so is one that takes nothing of what it asked for.
Such connections would count towards uvicorn's `limit_concurrency` until nobody else gets in.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """A connection with two clocks: one until a request's headers are there, one while the client reads nothing.

    Attributes:
        header_seconds: how long a request's headers may take.
        unread_seconds: how long the client may leave unread what is there for it.
    """

    header_seconds = 10.0
    unread_seconds = 60.0
    _headers: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._headers = self.loop.call_later(self.header_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        """It sends something: the rest of a request's headers, or their beginning."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_headers()
        elif self._headers is None:
            self._headers = self.loop.call_later(self.header_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        """It leaves much unread."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read most of it."""
        super().resume_writing()
        self._stop_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._stop_headers()
        self._stop_unread()

    def _stop_headers(self) -> None:
        if self._headers is not None:
            self._headers.cancel()
            self._headers = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
