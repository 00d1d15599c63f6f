"""A cache of API keys.

Successful lookups are cached for one second, so most requests need no database query and a revoked key stops working
within a second. Failed lookups are not cached, so new keys work immediately.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

from cachetools import TLRUCache

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
        self._keys, self._clock, self._lock = keys, clock, threading.Lock()
        self._entries: TLRUCache[bytes, tuple[ApiKey, float]] = TLRUCache(  # key and time of its lookup, by digest
            KEY_CACHE_SIZE, ttu=lambda _digest, entry, _now: entry[1] + KEY_CACHE_TTL_S, timer=clock
        )

    def get_cached_key(self, secret: str) -> ApiKey | None:
        """Return a valid key that was looked up within the last second, else None."""
        digest = _hash_secret(secret)
        with self._lock:
            key, _ = self._entries.get(digest, (None, 0.0))
        return key if key is not None and key.is_valid() else None

    def look_up_key(self, secret: str) -> ApiKey | None:
        """Look up a key in the registry and cache it; None for an invalid key. Reads the database."""
        looked_up_at = self._clock()  # before the query: the key may be revoked right after
        key, digest = self._keys.authenticate_secret(secret), _hash_secret(secret)
        with self._lock:
            self._entries.pop(digest, None)
            if key is not None:
                self._entries[digest] = key, looked_up_at
        return key


def _hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
