"""Protection of a server without keys: only for this machine, and not for web pages of other sites.

A browser sends requests of any page to any address, including loopback. The headers `Origin` and `Host` name the page's
site and the server's name; a page can forge neither.
"""

from __future__ import annotations

import ipaddress
import socket

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from softprompt.errors import SettingError
from softprompt.server.api_errors import ApiError
from softprompt.server.middleware.error_response import send_error_response


def require_loopback_without_auth(host: str, auth_enabled: bool) -> None:
    """Require a loopback address for a server without keys.

    Args:
        host: host name or address to listen on.
        auth_enabled: whether requests need an API key.

    Raises:
        SettingError: the address is not a loopback address.
    """
    if not auth_enabled and not is_loopback_host(host):
        raise SettingError(
            f"without API keys the server must listen on loopback, but {host or 'every address'} can be reached from "
            "other machines: create a key (softprompt keys create) and require keys, or use the host 127.0.0.1"
        )


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address resolves only to this machine."""
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        return False
    return bool(addresses) and all(_is_loopback_literal(str(address[0])) for *_, address in addresses)


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
    if not _is_loopback_literal(_strip_port(host)):
        return "this server has no API keys and accepts only loopback: use the host localhost or 127.0.0.1"
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return "this server has no API keys and rejects requests from pages of other sites"
    return None


def _strip_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback_literal(host: str) -> bool:
    """Whether a host name or address is loopback, without name resolution."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
