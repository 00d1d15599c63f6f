"""Error responses of ASGI middleware, which has no response objects."""

from __future__ import annotations

from starlette.types import Send

from softprompt.server.api_errors import ApiError


async def send_error_response(error: ApiError, send: Send) -> None:
    """Send an error and close the connection, as the rest of the request is not read."""
    content = error.to_json()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",
        **error.headers,
    }
    raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw_headers})
    await send({"type": "http.response.body", "body": content})
