"""Minimum of an updatable heap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.updatable_heap import UpdatableHeap


@given(changes=st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 5)), max_size=60))
def test_peek_returns_the_minimum_after_any_changes(changes: list[tuple[str, int | None]]) -> None:
    heap = UpdatableHeap()
    keys: dict[str, int] = {}
    for name, key in changes:
        if key is None:
            heap.discard(name)
            keys.pop(name, None)
        else:
            heap.set_key(name, (float(key),))
            keys[name] = key
        minimum = min(keys.items(), key=lambda item: item[1], default=None)
        assert heap.peek_min() == (None if minimum is None else (minimum[0], (minimum[1],)))
        assert list(heap) == list(keys)


def test_equal_keys_are_ordered_by_arrival() -> None:
    heap = UpdatableHeap()
    for name in ("b", "a", "c"):
        heap.set_key(name, (1.0,))
    heap.set_key("b", (2.0,))
    heap.set_key("b", (1.0,))
    assert heap.peek_min() == ("b", (1,))


def test_the_number_of_outdated_entries_is_bounded() -> None:
    heap = UpdatableHeap()
    for key in range(10_000):
        heap.set_key("a", (float(key),))
    assert len(heap._heap) <= 66
