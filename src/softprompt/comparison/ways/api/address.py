"""Where an OpenAI-compatible API answers, and the key to it, which nothing here prints."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from softprompt.errors import SettingError

OPENAI = "https://api.openai.com/v1"
KEY, PLACE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
NO_KEY = "none"  # the client insists on one, and a server that needs none ignores it
MOST_WORDS = 200


@dataclass(frozen=True)
class Address:
    """An API.

    Attributes:
        url: what its paths are appended to. There is nothing secret in it.
        key: None where the environment has none.
    """

    url: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, base_url: str | None) -> Address:
        """The address named, or OpenAI's; the key is the environment's.

        Raises:
            SettingError: it is no address, there is no key for OpenAI, or the environment names another address.
        """
        if base_url is None and os.environ.get(PLACE):  # not asked unsaid: a report says where it came from
            raise SettingError(f'`ways=["api"]`: {PLACE} is set: name that address with `base_url` as well')
        url = base_url or OPENAI
        _check(url)
        key = _key()
        if key is None and url == OPENAI:
            raise SettingError(f'`ways=["api"]`: no key: set {KEY}, or name a server that needs none with `base_url`')
        return cls(url, key)

    @property
    def is_here(self) -> bool:
        """Whether it is this machine, which is behind no proxy."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    def without_key(self, words: str) -> str:
        """What the other side said, without the key, which some repeat."""
        return words.replace(self.key, "…") if self.key else words

    def quoted(self, words: str) -> str:
        """What the other side said, in brackets for a message: one short line, and no key."""
        line = "".join(c for c in " ".join(self.without_key(words).split()) if c.isprintable())[:MOST_WORDS].rstrip(".")
        return f" ({line})" if line else ""


def _check(url: str) -> None:
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"`base_url={url!r}`: no address: write it like http://localhost:8000/v1")
    if parts.username is not None or parts.query or parts.fragment:  # a report shows it, and so does every message
        raise SettingError(f"`base_url` may hold no password and nothing behind a ? or #: a key belongs in {KEY}")


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only when it is asked for
    except ValueError:
        return None
    return parts


def _key() -> str | None:
    """The environment's key; an HTTP header holds no line end, which keys from files often have."""
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingError(f"{KEY} holds characters that no key has: copy it anew")
    return key or None
