"""A cache of API keys.

Successful lookups are cached for one second, so most requests need no database query and a revoked key stops working
within a second. Failed lookups are not cached, so new keys work immediately.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from softprompt.registry import ApiKey, ApiKeyRegistry

KEY_CACHE_TTL_S = 1.0
KEY_CACHE_SIZE = 10_000


class ApiKeyCache:
    """A cache of successful API key lookups. Thread-safe.

    Args:
        keys: API keys of the registry.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, keys: ApiKeyRegistry, clock: Callable[[], float] = time.monotonic):
        self._keys, self._clock = keys, clock
        self._entries: OrderedDict[bytes, tuple[ApiKey, float]] = (
            OrderedDict()
        )  # by hash of the secret, the newest last
        self._lock = threading.Lock()

    def get_cached_key(self, secret: str) -> ApiKey | None:
        """Return a valid key that was looked up within the last second, else None."""
        with self._lock:
            key, expires_at = self._entries.get(_hash_secret(secret), (None, 0.0))
        return key if key is not None and self._clock() < expires_at and key.is_valid() else None

    def look_up_key(self, secret: str) -> ApiKey | None:
        """Look up a key in the registry and cache it; None for an invalid key. Reads the database."""
        looked_up_at = self._clock()  # before the query: the key may be revoked right after
        key, digest = self._keys.authenticate_secret(secret), _hash_secret(secret)
        with self._lock:
            self._entries.pop(digest, None)
            if key is not None:
                self._entries[digest] = key, looked_up_at + KEY_CACHE_TTL_S
            while len(self._entries) > KEY_CACHE_SIZE:
                self._entries.popitem(last=False)
        return key


def _hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
