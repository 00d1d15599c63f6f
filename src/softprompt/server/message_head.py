"""What in a request's head is refused though it can be parsed: what two servers in a row could read as two things.

The parser itself refuses Content-Length with Transfer-Encoding, lengths that are repeated or no numbers, lines that end
in a bare LF or CR, and headers that go on in a second line (RFC 9112).
"""

from __future__ import annotations

from collections.abc import Iterable

from softprompt.server.refusal import Refusal

CODE = "invalid_http"


def refuse_head(version: str, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
    """Why a request's head is refused; None if it is not.

    Args:
        version: of HTTP, as `1.1`.
        headers: with names in lower case.
    """
    if version not in ("1.0", "1.1"):
        return Refusal(505, f"HTTP/{version} is not spoken here: use HTTP/1.1", code=CODE)
    hosts = codings = 0
    for name, value in headers:
        hosts += name == b"host"
        if name == b"transfer-encoding":
            codings += 1
            if value.lower() != b"chunked":
                return Refusal(501, "Transfer-Encoding is taken as 'chunked' alone", code=CODE)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return Refusal(400, f"there are {hosts} Host headers: send one", code=CODE)
    if codings and version == "1.0":
        return Refusal(400, "HTTP/1.0 has no Transfer-Encoding: use HTTP/1.1, or send a Content-Length", code=CODE)
    return None


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body follows a head that was not refused."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and int(value)) for name, value in headers)
