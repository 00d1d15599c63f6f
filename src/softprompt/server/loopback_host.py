"""Loopback hosts: names and addresses of this machine that no other machine can reach."""

from __future__ import annotations

import ipaddress
import socket

from softprompt.errors import SettingError


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
    return bool(addresses) and all(is_loopback_literal(str(address[0])) for *_, address in addresses)


def is_loopback_literal(host: str) -> bool:
    """Whether a host name or address is loopback, without name resolution."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
