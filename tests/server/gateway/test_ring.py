"""Whose turn it is, by names and numbers alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.gateway.ring import FEW, SHARE, Ring, chosen

NAMES = [f"http://10.0.0.{i}:8000" for i in range(5)]
KEYS = [f"{i:064x}" for i in range(800)]


def owners(ring: Ring) -> dict[str, str]:
    return {key: ring.order(key)[0] for key in KEYS}


def test_the_order_of_a_key_has_each_once_and_is_the_same_everywhere() -> None:
    ring, other = Ring.of(NAMES), Ring.of(NAMES[::-1])
    for key in KEYS[:100]:
        assert sorted(ring.order(key)) == NAMES
        assert ring.order(key) == other.order(key)


def test_shares_are_even() -> None:
    counts = Counter(owners(Ring.of(NAMES)).values())
    assert max(counts.values()) < 1.5 * len(KEYS) / len(NAMES)
    assert min(counts.values()) > 0.5 * len(KEYS) / len(NAMES)


def test_when_one_goes_only_its_own_keys_move() -> None:
    before, after = owners(Ring.of(NAMES)), owners(Ring.of(NAMES[1:]))
    for key in KEYS:
        assert before[key] == NAMES[0] or before[key] == after[key]
    # Whoever is out of use is skipped, which is the same as if it were not there.
    assert all(Ring.of(NAMES).order(key)[1] == after[key] for key in KEYS if before[key] == NAMES[0])


def test_few_requests_stay_where_the_prompt_is_warm() -> None:
    loads = dict.fromkeys(NAMES, 0)
    for _ in range(FEW):
        found = chosen(NAMES, loads)
        assert found == NAMES[0]
        loads[found] += 1
    assert chosen(NAMES, loads) == NAMES[1]


@given(orders=st.lists(st.permutations(NAMES[:3]), max_size=200))
def test_none_has_more_than_its_share(orders: list[list[str]]) -> None:
    loads = dict.fromkeys(NAMES[:3], 0)
    for order in orders:
        found = chosen(order, loads)
        assert found is not None
        loads[found] += 1
        mean = sum(loads.values()) / len(loads)
        assert loads[found] <= max(FEW, SHARE * mean + 1)


@pytest.mark.parametrize(
    ("order", "loads", "expected"),
    [
        ([], {}, None),
        ([], {"a": 0}, None),
        (["b"], {"a": 0, "b": 90}, "b"),  # all others were tried
        (["a", "b"], {"a": 120, "b": 50}, "b"),
        (["a", "b"], {"a": 0, "b": 80}, "a"),
    ],
)
def test_who_is_chosen(order: list[str], loads: dict[str, int], expected: str | None) -> None:
    assert chosen(order, loads) == expected
