"""uvicorn's HTTP protocol with strict parsing, size limits, and errors in OpenAI's format.

Received bytes are parsed in pieces, and only after the response to the previous request. So a client that sends a lot
of data at once does not block the event loop.
"""

from __future__ import annotations

import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from softprompt.server.api_errors import ApiError
from softprompt.server.runtime.message_size_counter import MessageSizeCounter
from softprompt.server.runtime.request_head import INVALID_HTTP_CODE, find_head_error, has_body

MAX_PARSE_BYTES = 2**12  # maximum bytes per parser call
# Maximum bytes of a body that are discarded after its response, before the connection is closed.
MAX_DISCARDED_BYTES = 2**20


class StrictHttpProtocol(HttpToolsProtocol):
    """A connection that parses requests strictly and within size limits."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._message_size = MessageSizeCounter()
        self._unparsed, self._piece = bytearray(), b""
        self._num_discarded = 0
        self._head_error: ApiError | None = None  # error of the current request head
        self._is_rejected = self._is_replaying = False
        self._active_cycle: RequestResponseCycle | None = None  # cycle of the current or last response

    @property
    def is_responding(self) -> bool:
        """Whether a request head was received whose response is not complete."""
        return self._active_cycle is not None and not self._active_cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Receive bytes."""
        if not self._is_rejected:
            self._unparsed += data
            self._parse_pending()

    def on_response_complete(self) -> None:
        """Continue with the next request after a response."""
        if self.pipeline:
            self._active_cycle = self.pipeline[-1][0]
        super().on_response_complete()
        self._num_discarded = 0
        if self._unparsed and not self.pipeline:
            self.loop.call_soon(self._parse_pending)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the request whose response is running, which may not be the last one."""
        self.pipeline.clear()
        self._unparsed.clear()
        _notify_disconnect(self._active_cycle)
        super().connection_lost(exc)

    def _parse_pending(self) -> None:
        while self._unparsed and not self.pipeline and not self._is_rejected and not self.transport.is_closing():
            self._parse_piece(bytes(self._unparsed[:MAX_PARSE_BYTES]))
        if self._unparsed:
            self.flow.pause_reading()

    def _parse_piece(self, piece: bytes) -> None:
        del self._unparsed[: len(piece)]
        self._piece = piece
        self._message_size.add_received(len(piece))
        super().data_received(piece)
        if not self._is_rejected and (error := self._message_size.find_size_error()) is not None:
            self._reject_request(error)
        if self._message_size.is_in_body and not self.is_responding:
            self._num_discarded += len(piece)
            if self._num_discarded > MAX_DISCARDED_BYTES:
                self.transport.close()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Start a request."""
        if not self._is_replaying:
            self._message_size.begin_head()
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Receive a part of the URL."""
        if not self._is_replaying:
            self._message_size.add_line(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header, or a trailer of a body, which is ignored."""
        self._message_size.add_line(len(name) + len(value) + 4)
        if not self._message_size.is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Validate the complete head."""
        if self._is_replaying:
            return
        self._head_error = self._message_size.find_head_size_error() or find_head_error(
            self.parser.get_http_version(), self.headers
        )
        if self._head_error is not None:
            raise self._head_error  # stops the parser
        was_responding = self.is_responding
        super().on_headers_complete()  # may reject the URL; the current cycle is then still the previous one
        self._message_size.end_head()
        if not was_responding:
            self._active_cycle = self.cycle

    def on_body(self, body: bytes) -> None:
        """Receive a part of the body."""
        self._message_size.add_content(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Complete the request, unless the parser stopped at a protocol upgrade before the body."""
        if not (self.parser.should_upgrade() and has_body(self.headers)):
            self._message_size.end_message()
            super().on_message_complete()

    # Overrides of uvicorn's handling of parser errors.

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Reject a request that the parser cannot parse."""
        error = self._head_error or ApiError(
            400, f"the request cannot be parsed: {sys.exception()}", code=INVALID_HTTP_CODE
        )
        self._reject_request(error)

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore a protocol upgrade, as HTTP allows; the parser treats the body as data of the new protocol.

        Some clients request an upgrade with every first request. So a new parser reads only the body.
        """
        [length] = sys.exception().args  # type: ignore[union-attr]
        self._unparsed[:0] = self._piece[length:]
        if has_body(self.headers):
            framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
            lines = [b"POST / HTTP/1.1", *(b": ".join(header) for header in framing), b"", b""]
            self.parser = httptools.HttpRequestParser(self)
            self._is_replaying = True
            self.parser.feed_data(b"\r\n".join(lines))
            self._is_replaying = False

    def _reject_request(self, error: ApiError) -> None:
        """Stop reading, and send the error unless another response is being sent."""
        self._is_rejected = True
        self._unparsed.clear()
        invalid_cycle = self.cycle if self._message_size.is_in_body else None
        if self._active_cycle is not None and self.is_responding and self._active_cycle is not invalid_cycle:
            self._active_cycle.keep_alive = False  # the invalid request follows a valid one
            self.pipeline.clear()
            return
        if invalid_cycle is None or not invalid_cycle.response_started:
            self.transport.write(_encode_error_response(error))
        self.transport.close()
        _notify_disconnect(invalid_cycle)


def _notify_disconnect(cycle: RequestResponseCycle | None) -> None:
    if cycle is not None and not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()


def _encode_error_response(error: ApiError) -> bytes:
    """Encode an error as a raw HTTP response."""
    content = error.to_json()
    headers = f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[error.status] + headers.encode() + content
