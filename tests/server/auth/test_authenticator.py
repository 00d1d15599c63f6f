"""Authentication without HTTP; `tests/server/api/test_dependencies.py` tests it over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from softprompt.registry import PromptRegistry
from softprompt.server.auth import api_key_cache as module
from softprompt.server.auth.authenticator import Authenticator


@pytest.fixture
def store(tmp_path: Any) -> Iterator[PromptRegistry]:
    with PromptRegistry.open(tmp_path / "store", create=True) as opened:
        yield opened


def test_a_cached_key_is_authenticated_without_a_query(store: PromptRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, looked = Authenticator(store.api_keys), 0
    _, text = store.api_keys.create_key()
    find = store.api_keys.authenticate_secret

    def counted(wanted: str) -> Any:
        nonlocal looked
        looked += 1
        return find(wanted)

    monkeypatch.setattr(store.api_keys, "authenticate_secret", counted)
    monkeypatch.setattr(module, "KEY_CACHE_TTL_S", 1000.0)

    async def many() -> None:
        for _ in range(50):
            await gate.authenticate_key(text)

    asyncio.run(many())
    assert looked == 1
