"""How many bytes a tenant's versions may have: held whoever adds at the same time, and a refusal leaves nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from softprompt.errors import StorageLimitExceeded
from softprompt.saved import SavedPrompt
from softprompt.store import Store
from tests.store.making import check_whole, stored

Prompts = list[SavedPrompt]


def test_what_would_be_too_much_is_refused_and_leaves_nothing(store: Store, saved: Prompts) -> None:
    size = sum(map(len, saved[0].files.values()))
    kept = store.add(saved[0], "reviews", size_limit=size)
    with pytest.raises(StorageLimitExceeded, match=f"more than {2 * size - 1:,}: remove versions first"):
        store.add(saved[1], "reviews", size_limit=2 * size - 1)
    assert stored(store) == [kept.content]
    assert (store.size_of("default"), store.size_of("nobody")) == (size, 0)
    check_whole(store)


def test_several_at_once_have_no_more_together(store: Store, saved: Prompts) -> None:
    size = sum(map(len, saved[0].files.values()))

    def add(number: int) -> bool:
        try:
            store.add(saved[number % 4], f"p{number}", size_limit=3 * size)
        except StorageLimitExceeded:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(8))) == 3
    assert store.size_of("default") == 3 * size
    check_whole(store)
