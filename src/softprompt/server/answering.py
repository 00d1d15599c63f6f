"""A refusal, sent by what stands outside of the application and has no response objects."""

from __future__ import annotations

from starlette.types import Send

from softprompt.server.refusal import Refusal


async def answer(refusal: Refusal, send: Send) -> None:
    """Send it, and let go of the connection: what was not read of the request is of no use any more."""
    content = refusal.json()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",
        **refusal.headers,
    }
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
