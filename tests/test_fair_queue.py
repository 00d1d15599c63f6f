"""Who is next, of all that tenants wait for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.fair_queue import FairQueue


def filled(capacity: int, come: str) -> tuple[FairQueue[str], str]:
    """A queue to which tenants came in this order, and those of them that found room."""
    queue: FairQueue[str] = FairQueue(capacity)
    return queue, "".join(tenant for tenant in come if queue.add(tenant, tenant))


def emptied(queue: FairQueue[str]) -> str:
    return "".join(queue.take()[1] for _ in range(len(queue)))


def test_tenants_take_turns_however_many_one_brings() -> None:
    queue, _ = filled(100, "aaaaabbc")
    assert emptied(queue) == "abcabaaa"
    assert not queue


def test_a_tenant_s_own_keep_their_order() -> None:
    queue: FairQueue[int] = FairQueue(100)
    for number in range(4):
        queue.add("a", number)
    assert [queue.take() for _ in range(4)] == [("a", number) for number in range(4)]


def test_who_floods_leaves_room_for_others() -> None:
    assert filled(8, "a" * 20 + "b" * 20 + "c")[1] == "aaaa" + "bb" + "c"
    assert filled(1, "aab")[1] == "a"


@given(capacity=st.integers(0, 12), come=st.text("abc", max_size=30))
def test_nobody_is_lost_and_the_room_is_enough(capacity: int, come: str) -> None:
    queue, found_room = filled(capacity, come)
    assert len(queue) == len(found_room) <= capacity
    assert sorted(queue) == sorted(found_room)
    assert sorted(emptied(queue)) == sorted(found_room)


def test_who_has_costly_items_has_fewer_turns() -> None:
    queue: FairQueue[str] = FairQueue(100)
    for tenant, cost in (("a", 3.0), ("b", 1.0)):
        for _ in range(4):
            queue.add(tenant, tenant, cost)
    assert emptied(queue) == "abbbabaa"


def test_service_whose_cost_is_known_afterwards_counts_as_well() -> None:
    queue, _ = filled(100, "aaabbb")
    assert queue.take()[0] == "a"
    queue.charge("a", 10.0)
    assert emptied(queue) == "bbbaa"


def test_who_holds_least_is_next_whatever_it_was_served() -> None:
    queue, _ = filled(100, "aabb")
    queue.charge("b", 50.0)
    queue.set_held("a", 2.0)
    assert queue.peek()[0] == "b"
    queue.set_held("a", 0.0)
    assert queue.peek()[0] == "a"


def test_what_is_put_back_is_next_of_its_tenant_costs_nothing_again_and_takes_no_room() -> None:
    queue: FairQueue[int] = FairQueue(2)
    queue.add("a", 1)
    tenant, item = queue.take()
    queue.set_held("a", 1.0)
    queue.charge("a", 5.0)
    queue.put_back(tenant, item)
    assert queue.add("a", 2)
    assert queue.add("b", 3)
    assert not queue.add("c", 4)
    queue.set_held("b", 2.0)
    assert (queue.take(), queue.served("a")) == (("a", 1), 5.0)
    assert not queue.add("c", 4)


def test_what_nobody_wants_leaves_without_a_charge() -> None:
    queue: FairQueue[str] = FairQueue(10)
    first, second = "".join(["a", "1"]), "".join(["a", "2"])
    queue.add("a", first)
    queue.add("a", second)
    queue.remove("a", first)
    assert (len(queue), queue.served("a"), queue.take()[1]) == (1, 0.0, second)


def test_of_tenants_that_came_once_nothing_is_kept() -> None:
    """Though the queue is never empty, and one tenant always holds something."""
    queue: FairQueue[str] = FairQueue(10, absent=10)
    queue.set_held("long", 1.0)
    for number in range(10_000):
        queue.add(str(number), "item")
        assert queue.take()[0] == str(number)
        queue.charge(str(number), float(number))
        queue.add(str(number), "in vain")
        queue.remove(str(number), next(iter(queue)))
    assert queue.num_remembered <= 2 * 10 + 1
    assert (queue.num_present, len(queue._queues), len(queue._order)) == (1, 0, 0)
    assert len(queue._order._heap) + len(queue._counters._present._heap) <= 4 * 64


def test_a_turn_costs_as_much_among_many_tenants_as_among_few() -> None:
    """Counted in entries of the heap that are looked at or made: all else of a turn is by name."""
    assert entries_touched(2000) / 2000 <= 1.5 * entries_touched(100) / 100


def entries_touched(tenants: int) -> int:
    """How many entries the heaps made until each of so many tenants that came at once was served twice."""
    queue: FairQueue[int] = FairQueue(4 * tenants)
    for number in range(2 * tenants):
        queue.add(str(number % tenants), number)
    touched = 0
    while queue:
        before = len(queue._order._heap) + len(queue._counters._present._heap)
        queue.take()
        touched += 1 + abs(len(queue._order._heap) + len(queue._counters._present._heap) - before)
    return touched
