"""Limits of a request's size on the wire. Independent of the parser and the connection.

The limit of a body counts its content only. But a chunk of one byte takes six bytes, chunk extensions and trailers may
have any length, and all of them cost time. So the overhead has a limit of its own.
"""

from __future__ import annotations

from softprompt.server.api_errors import ApiError

MAX_HEAD_BYTES = 2**14  # maximum bytes of the request line and headers
MAX_OVERHEAD_BYTES = 2**14  # maximum overhead of a body, in addition to the size of its content


class MessageSizeCounter:
    """A counter of the bytes of successive requests.

    Attributes:
        is_in_body: whether the head of a request is complete and its body is not.
    """

    def __init__(self) -> None:
        self.is_in_body = False
        self._num_head_bytes = self._num_content_bytes = self._num_received_bytes = 0

    def begin_head(self) -> None:
        """Start a new request."""
        self.is_in_body, self._num_head_bytes = False, 0

    def add_line(self, size: int) -> None:
        """Add the bytes of a head line; trailers of a body are ignored."""
        if not self.is_in_body:
            self._num_head_bytes += size

    def end_head(self) -> None:
        """Complete the head of the request."""
        self.is_in_body, self._num_content_bytes, self._num_received_bytes = True, 0, 0

    def add_content(self, size: int) -> None:
        """Add bytes of the body's content."""
        self._num_content_bytes += size

    def end_message(self) -> None:
        """Complete the request."""
        self.is_in_body, self._num_received_bytes = False, 0

    def add_received(self, size: int) -> None:
        """Add bytes received since the head, or since the previous request, was complete."""
        self._num_received_bytes += size

    def find_head_size_error(self) -> ApiError | None:
        """Return the error of a complete head that is too large, else None."""
        return _create_head_size_error() if self._num_head_bytes > MAX_HEAD_BYTES else None

    def find_size_error(self) -> ApiError | None:
        """Return the error if the bytes received so far exceed a limit, else None."""
        if not self.is_in_body:
            return _create_head_size_error() if self._num_received_bytes > MAX_HEAD_BYTES else None
        if self._num_received_bytes - self._num_content_bytes > MAX_OVERHEAD_BYTES + self._num_content_bytes:
            message = (
                f"{self._num_received_bytes:,} bytes of the body have {self._num_content_bytes:,} bytes of content: "
                "send larger chunks, or a Content-Length"
            )
            return ApiError(400, message, code="too_many_chunks")
        return None


def _create_head_size_error() -> ApiError:
    message = f"the request line and headers are larger than the maximum of {MAX_HEAD_BYTES:,} bytes"
    return ApiError(431, message, code="headers_too_large")
