"""Requests are assigned to replicas by a hash ring, with bounded loads."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.backends.vllm.consistent_hash import LOAD_FACTOR, MIN_CAPACITY, HashRing, pick_replica

NAMES = [f"http://10.0.0.{i}:8000" for i in range(5)]
KEYS = [f"{i:064x}" for i in range(800)]


def owners(ring: HashRing) -> dict[str, str]:
    return {key: ring.rank_replicas(key)[0] for key in KEYS}


def test_ranking_has_each_replica_once_and_does_not_depend_on_their_order() -> None:
    ring, other = HashRing.from_names(NAMES), HashRing.from_names(NAMES[::-1])
    for key in KEYS[:100]:
        assert sorted(ring.rank_replicas(key)) == NAMES
        assert ring.rank_replicas(key) == other.rank_replicas(key)


def test_replicas_have_similar_numbers_of_keys() -> None:
    counts = Counter(owners(HashRing.from_names(NAMES)).values())
    assert max(counts.values()) < 1.5 * len(KEYS) / len(NAMES)
    assert min(counts.values()) > 0.5 * len(KEYS) / len(NAMES)


def test_only_the_keys_of_a_removed_replica_move() -> None:
    before, after = owners(HashRing.from_names(NAMES)), owners(HashRing.from_names(NAMES[1:]))
    for key in KEYS:
        assert before[key] == NAMES[0] or before[key] == after[key]
    # Whoever is out of use is skipped, which is the same as if it were not there.
    assert all(
        HashRing.from_names(NAMES).rank_replicas(key)[1] == after[key] for key in KEYS if before[key] == NAMES[0]
    )


def test_the_preferred_replica_is_picked_up_to_the_minimum_capacity() -> None:
    loads = dict.fromkeys(NAMES, 0)
    for _ in range(MIN_CAPACITY):
        found = pick_replica(NAMES, loads)
        assert found == NAMES[0]
        loads[found] += 1
    assert pick_replica(NAMES, loads) == NAMES[1]


@given(orders=st.lists(st.permutations(NAMES[:3]), max_size=200))
def test_the_load_of_a_replica_is_bounded_by_the_mean_load(orders: list[list[str]]) -> None:
    loads = dict.fromkeys(NAMES[:3], 0)
    for order in orders:
        found = pick_replica(order, loads)
        assert found is not None
        loads[found] += 1
        mean = sum(loads.values()) / len(loads)
        assert loads[found] <= max(MIN_CAPACITY, LOAD_FACTOR * mean + 1)


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
def test_the_first_candidate_with_capacity_is_picked(
    order: list[str], loads: dict[str, int], expected: str | None
) -> None:
    assert pick_replica(order, loads) == expected
