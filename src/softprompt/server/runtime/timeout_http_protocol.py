"""HTTP connections with timeouts, which uvicorn lacks.

Connections of clients that send no complete request head, or hardly read their response, are closed. At the maximum
number of connections, the one that has been idle for longest is closed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from softprompt.server.runtime.restartable_timer import RestartableTimer
from softprompt.server.runtime.strict_http_protocol import StrictHttpProtocol

MIN_BYTES_PER_SECOND = 1024  # minimum rate at which a client must read a response


class TimeoutHttpProtocol(StrictHttpProtocol):
    """A connection with a timeout for request headers and one for clients that do not read.

    Attributes:
        header_timeout: maximum seconds of a request's headers.
        write_timeout: seconds between two checks of the client's reading rate.
        idle_since: end of the last response, by the event loop's clock.
    """

    header_timeout = 10.0
    write_timeout = 60.0

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._header_timer, self._write_timer = RestartableTimer(self.loop), RestartableTimer(self.loop)
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timeout, and close idle connections beyond the maximum."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # report every unread byte, not only those beyond 64 KiB
        self.idle_since = self.loop.time()
        self._header_timer.start(self.header_timeout, transport.abort)
        self._close_idle_connections()

    def on_response_complete(self) -> None:
        """Record the end of a response."""
        super().on_response_complete()
        self.idle_since = self.loop.time()

    def pause_writing(self) -> None:
        """Start the write timeout while the client has unread data."""
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        """Stop the write timeout once the client has read everything."""
        super().resume_writing()
        self._write_timer.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers of a closed connection."""
        super().connection_lost(exc)
        self._header_timer.stop()
        self._write_timer.stop()

    def _parse_pending(self) -> None:
        super()._parse_pending()
        if self.is_responding or self.transport.is_closing():
            self._header_timer.stop()
        elif not self._header_timer.is_running:
            self._header_timer.start(self.header_timeout, self.transport.abort)

    def _start_write_timer(self) -> None:
        num_unsent = self.transport.get_write_buffer_size()
        self._write_timer.start(self.write_timeout, partial(self._check_write_progress, num_unsent))

    def _check_write_progress(self, num_unsent: int) -> None:
        """Abort the connection if the client has read too little of the unsent bytes."""
        if num_unsent - self.transport.get_write_buffer_size() < MIN_BYTES_PER_SECOND * self.write_timeout:
            self.transport.abort()
        else:
            self._start_write_timer()

    def _close_idle_connections(self) -> None:
        """Close the longest idle connections while there are too many."""
        while self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            others = (
                connection
                for connection in self.connections
                if isinstance(connection, TimeoutHttpProtocol) and connection is not self
            )
            idle = min((other for other in others if not other.is_responding), key=_get_idle_since, default=None)
            if idle is None:
                return
            self.connections.discard(idle)
            idle.transport.abort()


def _get_idle_since(protocol: TimeoutHttpProtocol) -> float:
    return protocol.idle_since
