"""Which rows go on, decided without a model."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.request import End, Request, Sampling
from softprompt.engine.running import Running
from softprompt.engine.scheduler import Scheduler
from softprompt.engine.step_plan import Piece
from softprompt.errors import SettingError
from softprompt.fair_queue import FairQueue


def request(tenant: str = "", text: int = 3, response: int = 2, **more: float) -> Request:
    return Request(tuple(range(5, 5 + text)), Sampling(max_new_tokens=response), tenant=tenant, **more)


def planned(scheduler: Scheduler) -> list[Piece]:
    """The next step, after whoever there is room for has joined."""
    scheduler.admit()
    return scheduler.plan()


def run(scheduler: Scheduler) -> list[Running]:
    """Go on until all is done, with token 7 whenever one is told; the rows in the order in which they ended."""
    ended = []
    while not scheduler.is_idle:
        pieces = planned(scheduler)
        is_alone = not any(piece.row.is_writing for piece in pieces)
        assert sum(piece.count for piece in pieces) <= scheduler.tokens * (2 if is_alone else 1)
        assert [row.slot for row in scheduler.running] == list(range(len(scheduler.running)))
        for piece in pieces:
            scheduler.advance(piece, 7 if piece.is_last else None)
        for piece in pieces:
            if piece.row.written and scheduler.ended(piece.row, eos_token_ids=[2]) is not None:
                ended.append(piece.row)
                scheduler.leave(piece.row)
    return ended


@given(
    jobs=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20), st.integers(1, 6)), max_size=20),
    slots=st.integers(1, 5),
    tokens=st.integers(1, 12),
)
def test_every_request_is_read_and_answered_whole(jobs: list[tuple[str, int, int]], slots: int, tokens: int) -> None:
    scheduler = Scheduler(slots, length=40, tokens=tokens, waiting=100)
    rows = [scheduler.add(request(*job)) for job in jobs]
    ended = run(scheduler)
    assert {id(row) for row in ended} == {id(row) for row in rows}
    for row, (_, text, response) in zip(rows, jobs, strict=True):
        assert row is not None
        assert row.known == [*range(5, 5 + text), *[7] * response]
        assert row.computed == len(row.known) - 1  # the last token is never read


def test_a_long_text_stalls_nobody() -> None:
    scheduler = Scheduler(slots=2, length=2000, tokens=10, waiting=10)
    short = scheduler.add(request(response=5))
    assert short is not None
    scheduler.advance(planned(scheduler)[0], 7)
    scheduler.add(request(text=1000))
    for _ in range(3):
        pieces = planned(scheduler)
        assert pieces[0].row is short
        assert [piece.count for piece in pieces] == [1, 9]
        for piece in pieces:
            scheduler.advance(piece, 7 if piece.is_last else None)


def test_who_asks_for_much_waits_for_who_asks_for_little() -> None:
    scheduler = Scheduler(slots=1, length=40, tokens=10, waiting=100)
    for _ in range(10):
        scheduler.add(request("much"))
    run_one = planned(scheduler)[0]
    scheduler.add(request("little"))
    scheduler.advance(run_one, 7)
    ended = run(scheduler)
    assert [row.request.tenant for row in ended[:3]] == ["much", "little", "much"]


def test_whoever_was_away_has_saved_nothing_up() -> None:
    scheduler = Scheduler(slots=1, length=40, tokens=10, waiting=100)
    for _ in range(5):
        scheduler.add(request("here"))
    run(scheduler)
    for tenant in ("here", "back"):
        for _ in range(4):
            scheduler.add(request(tenant))
    tenants = [row.request.tenant for row in run(scheduler)]
    assert set(tenants[:3]) == {"here", "back"}


def test_what_is_too_long_or_too_much() -> None:
    scheduler = Scheduler(slots=1, length=10, tokens=10, waiting=1)
    with pytest.raises(SettingError, match="8 virtual tokens, 3 tokens of text and 2"):
        scheduler.add(request(), positions=8)
    assert scheduler.add(request()) is not None
    assert scheduler.add(request()) is None


def test_who_floods_leaves_room_for_others_to_wait() -> None:
    scheduler = Scheduler(slots=1, length=40, tokens=10, waiting=8)
    flood = [scheduler.add(request("a")) is not None for _ in range(20)]
    assert sum(flood) == 4
    assert sum(scheduler.add(request("b")) is not None for _ in range(20)) == 2
    assert scheduler.add(request("c")) is not None
    assert len(run(scheduler)) == 7


def test_what_nobody_wants_leaves_at_once() -> None:
    scheduler = Scheduler(slots=1, length=40, tokens=10, waiting=10)
    first, second = scheduler.add(request("a")), scheduler.add(request("b"))
    assert first is not None
    assert second is not None
    planned(scheduler)
    assert scheduler.leave(second) is None
    assert scheduler.num_waiting == 0
    assert scheduler.leave(first) is None
    assert scheduler.is_idle


def test_the_last_takes_the_place_of_who_leaves() -> None:
    scheduler = Scheduler(slots=3, length=40, tokens=30, waiting=10)
    rows = [scheduler.add(request()) for _ in range(3)]
    planned(scheduler)
    assert rows[0] is not None
    moved = scheduler.leave(rows[0])
    assert moved is rows[2]
    assert moved is not None
    assert moved.slot == 0


def test_deadlines_and_ends() -> None:
    scheduler = Scheduler(slots=1, length=40, tokens=10, waiting=10)
    row = scheduler.add(request(deadline=5.0))
    assert row is not None
    assert list(scheduler.overdue(4.9)) == []
    assert list(scheduler.overdue(5.0)) == [row]
    row.known.append(2)
    assert scheduler.ended(row, eos_token_ids=[2]) is End.STOP
    assert scheduler.ended(row, eos_token_ids=[3]) is None
    row.known.append(9)
    assert scheduler.ended(row, eos_token_ids=[3]) is End.LENGTH


def test_it_knows_no_torch() -> None:
    code = (
        "import sys, types\n"
        "package = types.ModuleType('softprompt.engine'); package.__path__ = [sys.argv[1]]\n"
        "whole = types.ModuleType('softprompt'); whole.__path__ = [sys.argv[2]]\n"
        "sys.modules |= {'softprompt': whole, 'softprompt.engine': package}\n"  # what they export would bring torch
        "import softprompt.engine.scheduler\n"
        "assert 'torch' not in sys.modules"
    )
    import softprompt.engine

    folders = [next(iter(each.__path__)) for each in (softprompt.engine, softprompt)]
    subprocess.run([sys.executable, "-c", code, *folders], check=True)


def test_a_long_text_lets_those_behind_it_begin() -> None:
    """They come to half of what is left, whatever the long one could take."""
    scheduler = Scheduler(slots=3, length=2000, tokens=10, waiting=10)
    for text in (1000, 6, 1000):
        scheduler.add(request(text=text))
    assert [piece.count for piece in planned(scheduler)] == [10, 5, 5]


def test_more_is_read_at_once_while_nobody_waits_for_its_next_token() -> None:
    scheduler = Scheduler(slots=2, length=2000, tokens=10, waiting=10)
    scheduler.add(request(text=2, response=9))
    (first,) = planned(scheduler)
    scheduler.advance(first, 7)
    scheduler.add(request(text=1000))
    writing, reading = planned(scheduler)
    assert (writing.count, reading.count) == (1, 9)
    scheduler.leave(writing.row)
    assert [piece.count for piece in planned(scheduler)] == [20]


def test_who_is_not_sure_of_room_waits_and_is_not_overtaken() -> None:
    scheduler = Scheduler(slots=5, length=40, tokens=50, waiting=10, room=30)
    running, long, short = (scheduler.add(request(text=text)) for text in (10, 20, 1))
    planned(scheduler)
    assert scheduler.running == [running]
    assert running is not None
    scheduler.leave(running)
    planned(scheduler)
    assert scheduler.running == [long, short]
    with pytest.raises(SettingError, match="more than the 30 that a row may have"):
        scheduler.add(request(text=30))


def test_nothing_is_kept_of_who_came_and_went() -> None:
    scheduler = Scheduler(slots=2, length=40, tokens=50, waiting=100)
    for tenant in range(50):
        scheduler.add(request(f"t{tenant}"))
    run(scheduler)
    assert not scheduler._waiting.num_remembered


def come_and_go(scheduler: Scheduler, jobs: list[tuple[int, int, int]]) -> list[str]:
    """Have tenants ask, each as others are still answered; in which order they were."""
    order, jobs = [], jobs[::-1]
    while jobs or not scheduler.is_idle:
        for _ in range(min(3, len(jobs))):
            tenant, text, response = jobs.pop()
            scheduler.add(request(str(tenant), text, response))
        for piece in planned(scheduler):
            scheduler.advance(piece, 7 if piece.is_last else None)
        for row in [row for row in scheduler.running if len(row.written) == row.request.sampling.max_new_tokens]:
            order.append(row.request.tenant)
            scheduler.leave(row)
    return order


@given(jobs=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.integers(1, 4)), min_size=80, max_size=200))
def test_the_turns_are_the_same_as_if_nobody_was_forgotten(jobs: list[tuple[int, int, int]]) -> None:
    forgetting, remembering = (Scheduler(slots=3, length=40, tokens=10, waiting=10**6) for _ in range(2))
    forgetting._waiting = FairQueue(10**6, absent=15)
    assert come_and_go(forgetting, jobs) == come_and_go(remembering, jobs)


def test_tenants_that_were_here_once_are_not_remembered_for_ever() -> None:
    """Though the engine is never idle: somebody always writes."""
    scheduler = Scheduler(slots=4, length=10**6, tokens=64, waiting=100)
    scheduler.add(request("long", response=10**6 - 3))
    for number in range(20_000):
        scheduler.add(request(str(number), response=1))
        for piece in planned(scheduler):
            scheduler.advance(piece, 7 if piece.is_last else None)
        for row in [row for row in scheduler.running if row.request.tenant != "long" and row.written]:
            scheduler.leave(row)
    assert [row.request.tenant for row in scheduler.running] == ["long"]
    assert scheduler._waiting.num_remembered < 5000
    assert (len(scheduler._shares._held), scheduler._waiting.num_present) == (1, 1)
    assert not scheduler._waiting


def test_a_tenant_that_only_ever_waits_in_vain_is_not_remembered() -> None:
    scheduler = Scheduler(slots=1, length=40, tokens=10, waiting=100)
    scheduler.add(request("long", response=30))
    planned(scheduler)
    for number in range(10_000):
        row = scheduler.add(request(str(number)))
        assert row is not None
        scheduler.leave(row)
    assert scheduler._waiting.num_remembered < 5000
