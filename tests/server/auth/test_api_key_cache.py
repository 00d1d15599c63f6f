"""The key cache returns valid keys for a second without a query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from softprompt.registry import PromptRegistry
from softprompt.server.auth import api_key_cache as module
from softprompt.server.auth.api_key_cache import ApiKeyCache
from tests.server.concurrency.test_tenant_rate_limiter import Clock


@pytest.fixture
def store(tmp_path: Any) -> Iterator[PromptRegistry]:
    with PromptRegistry.open(tmp_path / "store", create=True) as opened:
        yield opened


def test_a_key_is_cached_for_a_second(store: PromptRegistry) -> None:
    clock = Clock()
    ring = ApiKeyCache(store.api_keys, clock)
    key, text = store.api_keys.create_key()
    assert ring.get_cached_key(text) is None
    assert ring.look_up_key(text) == key
    store.api_keys.revoke_key(key.id)
    clock.now += module.KEY_CACHE_TTL_S - 0.01
    assert ring.get_cached_key(text) == key
    clock.now += 0.01
    assert ring.get_cached_key(text) is None
    assert ring.look_up_key(text) is None
    assert ring.get_cached_key(text) is None


def test_a_lookup_that_finds_a_key_revoked_removes_it_from_the_cache(store: PromptRegistry) -> None:
    ring = ApiKeyCache(store.api_keys, Clock())
    key, text = store.api_keys.create_key()
    assert ring.look_up_key(text) == ring.get_cached_key(text) == key
    store.api_keys.revoke_key(key.id)
    assert ring.get_cached_key(text) == key
    assert ring.look_up_key(text) is None
    assert ring.get_cached_key(text) is None


def test_the_key_cache_does_not_return_an_expired_key(store: PromptRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ApiKeyCache(store.api_keys, Clock())
    key, text = store.api_keys.create_key(expires_in=timedelta(days=1))
    assert ring.look_up_key(text) == ring.get_cached_key(text) == key
    monkeypatch.setattr(type(key), "is_valid", lambda self: False)
    assert ring.get_cached_key(text) is None


def test_the_size_of_the_key_cache_is_bounded(store: PromptRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEY_CACHE_SIZE", 3)
    ring = ApiKeyCache(store.api_keys, Clock())
    texts = [store.api_keys.create_key()[1] for _ in range(5)]
    for text in texts:
        ring.look_up_key(text)
    assert [ring.get_cached_key(text) is not None for text in texts] == [False, False, True, True, True]
    for _ in range(10):
        ring.look_up_key("sp-000000000000-" + "A" * 43)
    assert len(ring._entries) == 3
