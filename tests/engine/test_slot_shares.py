"""While others wait, no tenant holds more than its share of the slots, decided without a model."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.request import Request, Sampling
from softprompt.engine.running import Running
from softprompt.engine.scheduler import Scheduler
from softprompt.engine.slot_shares import TURN

LONG = 1900


def add(scheduler: Scheduler, tenant: str, response: int = 4, text: int = 3) -> Running:
    row = scheduler.add(Request(tuple(range(5, 5 + text)), Sampling(max_new_tokens=response), tenant=tenant))
    assert row is not None
    return row


def step(scheduler: Scheduler) -> list[Running]:
    """One step; the rows that end in it."""
    scheduler.admit()
    for piece in scheduler.plan():
        scheduler.advance(piece, 7 if piece.is_last else None)
    ended = [row for row in scheduler.running if len(row.written) >= row.request.sampling.max_new_tokens]
    for row in ended:
        scheduler.leave(row)
    return ended


def holders(scheduler: Scheduler) -> dict[str, int]:
    return dict(Counter(row.request.tenant for row in scheduler.running))


def steps_until_over(scheduler: Scheduler, row: Running) -> int:
    return next(number for number in range(1, 10_000) if row in step(scheduler))


@pytest.mark.parametrize("slots", [1, 2, 64])
def test_who_asks_for_a_little_is_answered_beside_whoever_has_all_slots(slots: int) -> None:
    scheduler = Scheduler(slots, length=2048, tokens=256, waiting=256)
    for _ in range(max(slots, 64)):
        add(scheduler, "much", LONG)
    for _ in range(TURN + 2):
        step(scheduler)
    assert holders(scheduler) == {"much": slots}
    for _ in range(20):
        assert steps_until_over(scheduler, add(scheduler, "little")) <= (5 if slots > 1 else 2 * TURN)


def test_a_tenant_alone_has_all_slots_and_is_never_interrupted() -> None:
    scheduler = Scheduler(8, length=2048, tokens=64, waiting=256)
    rows = [add(scheduler, "alone", response=100) for _ in range(20)]
    while not scheduler.is_idle:
        scheduler.admit()
        assert not scheduler.num_waiting or holders(scheduler) == {"alone": 8}
        step(scheduler)
    assert [row.preemptions for row in rows] == [0] * 20


def test_while_others_wait_each_has_an_equal_share() -> None:
    scheduler = Scheduler(12, length=2048, tokens=64, waiting=256)
    for tenant, rows in (("a", 40), ("b", 40), ("c", 2)):
        for _ in range(rows):
            add(scheduler, tenant, LONG)
        step(scheduler)
    assert holders(scheduler) == {"a": 5, "b": 5, "c": 2}


def test_slots_that_others_leave_free_are_used() -> None:
    scheduler = Scheduler(8, length=2048, tokens=64, waiting=256)
    for _ in range(20):
        add(scheduler, "much", LONG)
    step(scheduler)
    little = add(scheduler, "little")
    steps_until_over(scheduler, little)
    step(scheduler)
    assert holders(scheduler) == {"much": 8}


def test_memory_is_shared_as_slots_are() -> None:
    """Few long rows can take all of it."""
    scheduler = Scheduler(16, length=1000, tokens=64, waiting=256, room=4000)
    for _ in range(8):
        add(scheduler, "long", response=990)
    step(scheduler)
    assert holders(scheduler) == {"long": 4}
    assert steps_until_over(scheduler, add(scheduler, "little")) <= 5
    assert steps_until_over(scheduler, add(scheduler, "little", response=400)) <= 401


def test_more_tenants_than_slots_take_turns() -> None:
    scheduler = Scheduler(4, length=2048, tokens=64, waiting=256)
    rows = [add(scheduler, str(number), response=400) for number in range(12)]
    for _ in range(6 * TURN):
        step(scheduler)
    assert min(len(row.written) for row in rows) >= TURN
    assert sum(row.preemptions for row in rows) <= 4 * 6


@given(
    jobs=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 30), st.integers(1, 40), st.integers(0, 9)), max_size=25
    ),
    slots=st.integers(1, 5),
    room=st.integers(70, 200),
)
def test_whatever_is_interrupted_goes_on_to_its_end(
    jobs: list[tuple[str, int, int, int]], slots: int, room: int
) -> None:
    """And slots are never taken back without end: each row is answered in a bounded number of steps."""
    scheduler = Scheduler(slots, length=70, tokens=16, waiting=100, room=room)
    rows: list[Running] = []
    jobs, number = jobs[::-1], 0
    while jobs or not scheduler.is_idle:
        while jobs and jobs[-1][3] <= number % 10:
            tenant, text, response, _ = jobs.pop()
            rows.append(add(scheduler, tenant, response, text))
        step(scheduler)
        assert [row.slot for row in scheduler.running] == list(range(len(scheduler.running)))
        assert sum(row.room for row in scheduler.running) <= scheduler.room
        number += 1
        assert number < 3000
    assert all(len(row.written) == row.request.sampling.max_new_tokens for row in rows)
    assert not scheduler._shares._held
    assert scheduler._waiting.num_present == 0


def test_rows_that_lost_their_slots_leave_others_room_to_wait() -> None:
    scheduler = Scheduler(8, length=2048, tokens=64, waiting=4)
    while scheduler.add(Request((5,), Sampling(max_new_tokens=LONG), tenant="much")) is not None:
        scheduler.admit()
    for _ in range(4):
        add(scheduler, "little", LONG)
        scheduler.admit()
    assert scheduler.num_waiting > 4
    add(scheduler, "another")


def test_texts_of_one_tenant_do_not_keep_another_s_from_being_read() -> None:
    scheduler = Scheduler(64, length=4000, tokens=256, waiting=256)
    for _ in range(60):
        add(scheduler, "much", text=2000)
    step(scheduler)
    assert steps_until_over(scheduler, add(scheduler, "little", response=4)) == 4


@pytest.mark.parametrize(("others", "room"), [(1, 4096), (2, 4096), (10, 16384)])
def test_one_long_row_among_many_short_ones_comes_to_its_end(others: int, room: int) -> None:
    """It holds more than the others' share by itself: taking it back each time would let it never write."""
    scheduler = Scheduler(64, length=2048, tokens=256, waiting=4096, room=room)
    long_row = add(scheduler, "long", response=300, text=1700)
    for _ in range(1500):
        for tenant in range(others):
            while scheduler._waiting.count(f"short {tenant}") < 4:
                add(scheduler, f"short {tenant}", response=100, text=100)
        if long_row in step(scheduler):
            break
    assert len(long_row.written) == 300
    assert long_row.preemptions == 0


@given(st.data())
def test_a_row_joins_once_however_often_it_is_interrupted_meanwhile(data: st.DataObject) -> None:
    scheduler = Scheduler(3, length=64, tokens=8, waiting=256, room=100)
    for number in range(data.draw(st.integers(1, 60))):
        tenant, text = data.draw(st.sampled_from("ABCD")), data.draw(st.integers(1, 40))
        sampling = Sampling(max_new_tokens=data.draw(st.integers(1, 20)))
        scheduler.add(Request(tuple(range(5, 5 + text)), sampling, tenant))
        joined = scheduler.admit()
        assert len(joined) == len(set(joined)), number
        for piece in scheduler.plan():
            scheduler.advance(piece, 7 if piece.is_last else None)
        for row in [row for row in scheduler.running if len(row.written) >= row.request.sampling.max_new_tokens]:
            scheduler.leave(row)
