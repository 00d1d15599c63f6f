"""Protection of a server without keys: only for this machine, and not for web pages of other sites.

A browser sends requests of any page to any address, including loopback. The headers `Origin` and `Host` name the page's
site and the server's name; a page can forge neither.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from softprompt.server.api_errors import ApiError
from softprompt.server.loopback_host import is_loopback_literal
from softprompt.server.middleware.error_response import send_error_response


class LoopbackOnlyMiddleware:
    """A middleware that rejects requests to other hosts than loopback, or from pages of other sites.

    Args:
        app: wrapped application.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and (problem := _find_rejection_reason(Headers(scope=scope))):
            await send_error_response(ApiError(403, problem, code="not_loopback"), send)
        else:
            await self.app(scope, receive, send)


def _find_rejection_reason(headers: Headers) -> str | None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if not is_loopback_literal(_strip_port(host)):
        return "this server has no API keys and accepts only loopback: use the host localhost or 127.0.0.1"
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return "this server has no API keys and rejects requests from pages of other sites"
    return None


def _strip_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
