"""How large a request is on the wire, apart from what it carries. It knows no parser and no connection.

The limit of a body counts what the body carries. Chunks of one byte take six bytes each, and their extensions and
trailers any number, and all of it is work; so what is no content has a limit of its own.
"""

from __future__ import annotations

from softprompt.server.refusal import Refusal

MAX_HEAD = 2**14  # bytes of a request's line and headers
MAX_OVERHEAD = 2**14  # bytes of a body that are no content, beside as many as there is content


class MessageSize:
    """Counts the bytes of one request after the other.

    Attributes:
        is_in_body: the head of a request is complete, and its body is not.
    """

    def __init__(self) -> None:
        self.is_in_body = False
        self._head = self._content = self._received = 0

    def begin_head(self) -> None:
        """A request begins."""
        self.is_in_body, self._head = False, 0

    def add_line(self, size: int) -> None:
        """A line of the head is complete, or a part of its first line; trailers are no part of the head."""
        if not self.is_in_body:
            self._head += size

    def end_head(self) -> None:
        """The head is complete."""
        self.is_in_body, self._content, self._received = True, 0, 0

    def add_content(self, size: int) -> None:
        """So many bytes are content of the body."""
        self._content += size

    def end_message(self) -> None:
        """The request is complete."""
        self.is_in_body, self._received = False, 0

    def add_received(self, size: int) -> None:
        """So many bytes were received since the head was complete, or since the request before was."""
        self._received += size

    def head_refusal(self) -> Refusal | None:
        """Why a head that is complete is refused; None if it is not."""
        return _head_too_large() if self._head > MAX_HEAD else None

    def refusal(self) -> Refusal | None:
        """Why what was received so far is refused; None if it is not."""
        if not self.is_in_body:
            return _head_too_large() if self._received > MAX_HEAD else None
        if self._received - self._content > MAX_OVERHEAD + self._content:
            message = (
                f"{self._received:,} bytes of the body carry {self._content:,}: send larger chunks, or a Content-Length"
            )
            return Refusal(400, message, code="too_many_chunks")
        return None


def _head_too_large() -> Refusal:
    message = f"the request's line and headers are larger than {MAX_HEAD:,} bytes, the most that is taken"
    return Refusal(431, message, code="headers_too_large")
