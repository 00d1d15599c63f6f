"""A server without keys: for this machine alone, and for no page of another's that a browser here has open.

A browser sends what any page wants to any address, loopback too. It says in `Origin` whose page it was, and in `Host`
which name it knew the server by; neither can be forged by a page.
"""

from __future__ import annotations

import ipaddress
import socket

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from softprompt.errors import SettingError
from softprompt.server.answering import answer
from softprompt.server.refusal import Refusal


def check_host(host: str, has_keys: bool) -> None:
    """Refuse to be reached from elsewhere while nobody is asked for a key.

    Args:
        host: the name or address to listen at.
        has_keys: whether a key is asked for.

    Raises:
        SettingError: it is another address than loopback's, or none.
    """
    if not has_keys and not is_loopback(host):
        raise SettingError(
            f"{host or 'every address'} can be reached from other machines, and without keys anybody could ask: "
            "make a key (softprompt keys create) and ask for keys, or listen at 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether a name or an address leads to this machine alone."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_own(str(address[0])) for *_, address in found)


class LoopbackGuard:
    """Refuses what was sent to another name than loopback's, or by another's page.

    Args:
        app: what is behind it.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and (problem := _problem(Headers(scope=scope))):
            await answer(Refusal(403, problem, code="not_loopback"), send)
        else:
            await self.app(scope, receive, send)


def _problem(headers: Headers) -> str | None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _is_own(_without_port(host)):
        return "this server has no keys, so it answers on loopback only: ask it as localhost or 127.0.0.1"
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return "this server has no keys, so it answers to no other page"
    return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_own(host: str) -> bool:
    """Whether a name or an address is loopback's by itself, without asking anybody."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
