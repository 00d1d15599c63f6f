"""Validation of request heads that parse, but that two servers in a chain could interpret differently.

The parser itself rejects Content-Length with Transfer-Encoding, repeated or invalid lengths, lines that end in a bare
LF or CR, and folded headers (RFC 9112).
"""

from __future__ import annotations

from collections.abc import Iterable

from softprompt.server.api_errors import ApiError

INVALID_HTTP_CODE = "invalid_http"


def find_head_error(version: str, headers: Iterable[tuple[bytes, bytes]]) -> ApiError | None:
    """Return the error of an invalid request head, else None.

    Args:
        version: HTTP version, such as `1.1`.
        headers: headers with names in lower case.
    """
    if version not in ("1.0", "1.1"):
        return ApiError(505, f"HTTP/{version} is not supported: use HTTP/1.1", code=INVALID_HTTP_CODE)
    num_hosts = num_codings = 0
    for name, value in headers:
        num_hosts += name == b"host"
        if name == b"transfer-encoding":
            num_codings += 1
            if value.lower() != b"chunked":
                return ApiError(501, "this Transfer-Encoding is not supported: use 'chunked'", code=INVALID_HTTP_CODE)
    if num_hosts > 1 or (num_hosts == 0 and version == "1.1"):
        return ApiError(400, f"the request has {num_hosts} Host headers: send exactly one", code=INVALID_HTTP_CODE)
    if num_codings and version == "1.0":
        return ApiError(
            400, "HTTP/1.0 has no Transfer-Encoding: use HTTP/1.1, or send a Content-Length", code=INVALID_HTTP_CODE
        )
    return None


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a valid head is followed by a body."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and int(value)) for name, value in headers)
