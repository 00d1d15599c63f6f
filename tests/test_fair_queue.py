"""Order of the fair queue."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.fair_queue import FairQueue


def fill_queue(capacity: int, arrivals: str) -> tuple[FairQueue[str], str]:
    """Return a queue after arrivals of tenants in this order, and the tenants whose item was accepted."""
    queue: FairQueue[str] = FairQueue(capacity)
    return queue, "".join(tenant for tenant in arrivals if queue.put(tenant, tenant))


def drain_queue(queue: FairQueue[str]) -> str:
    return "".join(queue.get()[1] for _ in range(len(queue)))


def test_tenants_take_turns_whatever_their_number_of_items() -> None:
    queue, _ = fill_queue(100, "aaaaabbc")
    assert drain_queue(queue) == "abcabaaa"
    assert not queue


def test_items_of_a_tenant_keep_their_order() -> None:
    queue: FairQueue[int] = FairQueue(100)
    for number in range(4):
        queue.put("a", number)
    assert [queue.get() for _ in range(4)] == [("a", number) for number in range(4)]


def test_a_flooding_tenant_leaves_capacity_for_others() -> None:
    assert fill_queue(8, "a" * 20 + "b" * 20 + "c")[1] == "aaaa" + "bb" + "c"
    assert fill_queue(1, "aab")[1] == "a"


@given(capacity=st.integers(0, 12), arrivals=st.text("abc", max_size=30))
def test_no_item_is_lost_and_capacity_holds(capacity: int, arrivals: str) -> None:
    queue, accepted = fill_queue(capacity, arrivals)
    assert len(queue) == len(accepted) <= capacity
    assert sorted(queue) == sorted(accepted)
    assert sorted(drain_queue(queue)) == sorted(accepted)


def test_a_tenant_with_costly_items_has_fewer_turns() -> None:
    queue: FairQueue[str] = FairQueue(100)
    for tenant, cost in (("a", 3.0), ("b", 1.0)):
        for _ in range(4):
            queue.put(tenant, tenant, cost)
    assert drain_queue(queue) == "abbbabaa"


def test_charging_a_tenant_postpones_its_next_turns() -> None:
    queue, _ = fill_queue(100, "aaabbb")
    assert queue.get()[0] == "a"
    queue.charge_tenant("a", 10.0)
    assert drain_queue(queue) == "bbbaa"


def test_the_tenant_with_the_least_usage_is_next() -> None:
    queue, _ = fill_queue(100, "aabb")
    queue.charge_tenant("b", 50.0)
    queue.set_tenant_usage("a", 2.0)
    assert queue.peek()[0] == "b"
    queue.set_tenant_usage("a", 0.0)
    assert queue.peek()[0] == "a"


def test_a_returned_item_is_next_is_not_charged_and_takes_no_capacity() -> None:
    queue: FairQueue[int] = FairQueue(2)
    queue.put("a", 1)
    tenant, item = queue.get()
    queue.set_tenant_usage("a", 1.0)
    queue.charge_tenant("a", 5.0)
    queue.put_back(tenant, item)
    assert queue.put("a", 2)
    assert queue.put("b", 3)
    assert not queue.put("c", 4)
    queue.set_tenant_usage("b", 2.0)
    assert (queue.get(), queue.get_tenant_service("a")) == (("a", 1), 5.0)
    assert not queue.put("c", 4)


def test_a_removed_item_is_not_charged() -> None:
    queue: FairQueue[str] = FairQueue(10)
    first, second = "".join(["a", "1"]), "".join(["a", "2"])
    queue.put("a", first)
    queue.put("a", second)
    queue.remove("a", first)
    assert (len(queue), queue.get_tenant_service("a"), queue.get()[1]) == (1, 0.0, second)


def test_the_state_of_past_tenants_is_deleted() -> None:
    """The queue is never empty, and one tenant always has usage."""
    queue: FairQueue[str] = FairQueue(10, max_inactive=10)
    queue.set_tenant_usage("long", 1.0)
    for number in range(10_000):
        queue.put(str(number), "item")
        assert queue.get()[0] == str(number)
        queue.charge_tenant(str(number), float(number))
        queue.put(str(number), "in vain")
        queue.remove(str(number), next(iter(queue)))
    assert queue.num_tracked_tenants <= 2 * 10 + 1
    assert (queue.num_active_tenants, len(queue._queues), len(queue._waiting_heap)) == (1, 0, 0)
    assert len(queue._waiting_heap._heap) + len(queue._service_counters._active._heap) <= 4 * 64


def test_the_cost_of_a_turn_does_not_depend_on_the_number_of_tenants() -> None:
    """The cost is the number of heap entries read or created; the rest of a turn is dictionary access."""
    assert count_touched_entries(2000) / 2000 <= 1.5 * count_touched_entries(100) / 100


def count_touched_entries(tenants: int) -> int:
    """Count the heap entries touched until each of many tenants was served twice."""
    queue: FairQueue[int] = FairQueue(4 * tenants)
    for number in range(2 * tenants):
        queue.put(str(number % tenants), number)
    touched = 0
    while queue:
        before = len(queue._waiting_heap._heap) + len(queue._service_counters._active._heap)
        queue.get()
        touched += 1 + abs(len(queue._waiting_heap._heap) + len(queue._service_counters._active._heap) - before)
    return touched
