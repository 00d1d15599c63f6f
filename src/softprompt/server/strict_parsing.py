"""Requests as uvicorn parses them with httptools, within limits, and answered in OpenAI's shape where they are wrong.

What came is parsed in pieces, and not before the request in front of it is answered, so however much a client sends at
once, the event loop has its turn.
"""

from __future__ import annotations

import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from softprompt.server.message_head import CODE, has_body, refuse_head
from softprompt.server.message_size import MessageSize
from softprompt.server.refusal import Refusal

PIECE = 2**12  # bytes that are parsed at once
MAX_UNUSED = 2**20  # bytes of a body that are thrown away behind an answer; beyond, the connection is closed


class StrictParsing(HttpToolsProtocol):
    """A connection whose requests are parsed strictly and within limits."""

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        self._size = MessageSize()
        self._unparsed, self._piece = bytearray(), b""
        self._unused = 0
        self._refusal: Refusal | None = None  # of the head that is parsed now
        self._is_refused = self._is_replayed = False
        self._answered: RequestResponseCycle | None = None  # whose application runs, or ran last

    @property
    def is_answering(self) -> bool:
        """A request's head has come, and its answer is not complete."""
        return self._answered is not None and not self._answered.response_complete

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if not self._is_refused:
            self._unparsed += data
            self._parse()

    def on_response_complete(self) -> None:
        """An answer is complete: the next request has its turn."""
        if self.pipeline:
            self._answered = self.pipeline[-1][0]
        super().on_response_complete()
        self._unused = 0
        if self._unparsed and not self.pipeline:
            self.loop.call_soon(self._parse)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; so the request is told that is being answered, which may not be the last one."""
        self.pipeline.clear()
        self._unparsed.clear()
        _disconnect(self._answered)
        super().connection_lost(exc)

    def _parse(self) -> None:
        while self._unparsed and not self.pipeline and not self._is_refused and not self.transport.is_closing():
            self._parse_piece(bytes(self._unparsed[:PIECE]))
        if self._unparsed:
            self.flow.pause_reading()

    def _parse_piece(self, piece: bytes) -> None:
        del self._unparsed[: len(piece)]
        self._piece = piece
        self._size.add_received(len(piece))
        super().data_received(piece)
        if not self._is_refused and (refusal := self._size.refusal()) is not None:
            self._refuse(refusal)
        if self._size.is_in_body and not self.is_answering:
            self._unused += len(piece)
            if self._unused > MAX_UNUSED:
                self.transport.close()

    # What the parser says.

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._is_replayed:
            self._size.begin_head()
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its URL."""
        if not self._is_replayed:
            self._size.add_line(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers; or of a body's trailers, which are passed over."""
        self._size.add_line(len(name) + len(value) + 4)
        if not self._size.is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        if self._is_replayed:
            return
        self._refusal = self._size.head_refusal() or refuse_head(self.parser.get_http_version(), self.headers)
        if self._refusal is not None:
            raise self._refusal  # the parser stops
        was_answering = self.is_answering
        super().on_headers_complete()  # which may refuse the URL: then the last request is still the one before
        self._size.end_head()
        if not was_answering:
            self._answered = self.cycle

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._size.add_content(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is complete, unless the parser gave up because it asks for another protocol."""
        if not (self.parser.should_upgrade() and has_body(self.headers)):
            self._size.end_message()
            super().on_message_complete()

    # What uvicorn does about what the parser refuses.

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """The parser refused something."""
        refusal = self._refusal or Refusal(400, f"the request cannot be parsed: {sys.exception()}", code=CODE)
        self._refuse(refusal)

    def _unsupported_upgrade_warning(self) -> None:
        """A request asks for another protocol, which HTTP lets a server pass over; the parser takes its body for that.

        Some clients ask so with every first request, whatever its body. So another parser is told of the body alone.
        """
        [length] = sys.exception().args  # type: ignore[union-attr]
        self._unparsed[:0] = self._piece[length:]
        if has_body(self.headers):
            framing = [each for each in self.headers if each[0] in (b"content-length", b"transfer-encoding")]
            lines = [b"POST / HTTP/1.1", *(b": ".join(each) for each in framing), b"", b""]
            self.parser = httptools.HttpRequestParser(self)
            self._is_replayed = True
            self.parser.feed_data(b"\r\n".join(lines))
            self._is_replayed = False

    def _refuse(self, refusal: Refusal) -> None:
        """Take nothing any more; say why, where no other answer would be mixed up with it."""
        self._is_refused = True
        self._unparsed.clear()
        broken = self.cycle if self._size.is_in_body else None
        if self._answered is not None and self.is_answering and self._answered is not broken:
            self._answered.keep_alive = False  # what is wrong stands behind a request that is right
            self.pipeline.clear()
            return
        if broken is None or not broken.response_started:
            self.transport.write(_written(refusal))
        self.transport.close()
        _disconnect(broken)


def _disconnect(cycle: RequestResponseCycle | None) -> None:
    if cycle is not None and not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()


def _written(refusal: Refusal) -> bytes:
    """A refusal as an answer that no application gave."""
    content = refusal.json()
    headers = f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[refusal.status] + headers.encode() + content
