"""The URL and the API key of an OpenAI-compatible API. The key is never printed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from softprompt.errors import SettingError

OPENAI_URL = "https://api.openai.com/v1"
API_KEY_VARIABLE, BASE_URL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
PLACEHOLDER_KEY = "none"  # the client requires a key; a server without keys ignores it
MAX_QUOTE_CHARS = 200


@dataclass(frozen=True)
class ApiEndpoint:
    """The endpoint of an API.

    Attributes:
        url: base URL, without secrets.
        key: API key; None if the environment has none.
    """

    url: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def from_base_url(cls, base_url: str | None) -> ApiEndpoint:
        """Return the endpoint of a URL, OpenAI's by default, with the key of the environment.

        Raises:
            SettingError: the URL is invalid, the key for OpenAI is missing, or the environment has another URL.
        """
        if base_url is None and os.environ.get(BASE_URL_VARIABLE):  # must be explicit: the report names the URL
            raise SettingError(f"{BASE_URL_VARIABLE} is set: pass the same URL as `base_url`")
        url = base_url or OPENAI_URL
        _check_url(url)
        key = _read_api_key()
        if key is None and url == OPENAI_URL:
            raise SettingError(
                f"no API key: set {API_KEY_VARIABLE}, or pass the `base_url` of a server that needs none"
            )
        return cls(url, key)

    @property
    def is_loopback(self) -> bool:
        """Whether the API runs on this machine, which needs no proxy."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    def redact_key(self, text: str) -> str:
        """Remove the key from a text of the server."""
        return text.replace(self.key, "…") if self.key else text

    def quote_message(self, text: str) -> str:
        """Return a text of the server in parentheses for a message: one short line without the key."""
        line = "".join(c for c in " ".join(self.redact_key(text).split()) if c.isprintable())[:MAX_QUOTE_CHARS].rstrip(
            "."
        )
        return f" ({line})" if line else ""


def _check_url(url: str) -> None:
    parts = _split_url(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"`base_url={url!r}`: invalid URL: pass a URL such as http://localhost:8000/v1")
    if parts.username is not None or parts.query or parts.fragment:  # reports and messages show the URL
        raise SettingError(
            f"`base_url` must not contain a password, a query or a fragment: set the key in {API_KEY_VARIABLE}"
        )


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # the port is parsed lazily
    except ValueError:
        return None
    return parts


def _read_api_key() -> str | None:
    """Return the key of the environment without surrounding white space, which keys from files often have."""
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingError(f"{API_KEY_VARIABLE} contains characters that are invalid in a key: copy the key again")
    return key or None
