"""The storage limit of a tenant holds for simultaneous additions, and rejected additions leave no files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from softprompt.errors import StorageLimitExceeded
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.registry.factories import check_whole, stored

Prompts = list[SavedPrompt]


def test_additions_over_the_limit_are_rejected_without_a_trace(store: PromptRegistry, saved: Prompts) -> None:
    size = sum(map(len, saved[0].files.values()))
    kept = store.register_prompt(saved[0], "reviews", size_limit=size)
    with pytest.raises(StorageLimitExceeded, match=f"the limit is {2 * size - 1:,}, so remove versions first"):
        store.register_prompt(saved[1], "reviews", size_limit=2 * size - 1)
    assert stored(store) == [kept.digest]
    assert (store.get_tenant_size("default"), store.get_tenant_size("nobody")) == (size, 0)
    check_whole(store)


def test_simultaneous_additions_do_not_exceed_the_limit_together(store: PromptRegistry, saved: Prompts) -> None:
    size = sum(map(len, saved[0].files.values()))

    def add(number: int) -> bool:
        try:
            store.register_prompt(saved[number % 4], f"p{number}", size_limit=3 * size)
        except StorageLimitExceeded:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(8))) == 3
    assert store.get_tenant_size("default") == 3 * size
    check_whole(store)
