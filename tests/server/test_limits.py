"""Limits: each tenant for itself, whatever the others do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.limits import MINUTE, Limits, TooManyRequests, TooManyRows


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(limits: Limits, tenant: str = "acme") -> int:
    """Ask once, for no time: 0, or after how many seconds to try again."""
    try:
        with limits.holding(tenant):
            return 0
    except TooManyRequests as error:
        return error.seconds


def test_no_limits() -> None:
    limits = Limits()
    assert [ask(limits) for _ in range(1000)] == [0] * 1000


def test_a_minute() -> None:
    clock = Clock()
    limits = Limits(a_minute=3, clock=clock)
    assert [ask(limits) for _ in range(5)] == [0, 0, 0, 20, 20]
    assert ask(limits, "bolt") == 0
    clock.now += 19.5
    assert ask(limits) == 1
    clock.now += 0.5
    assert [ask(limits) for _ in range(2)] == [0, 20]
    clock.now += 1000 * MINUTE  # nobody saves more than a minute up
    assert [ask(limits) for _ in range(4)] == [0, 0, 0, 20]


def test_at_once() -> None:
    limits = Limits(at_once=2)
    with limits.holding("acme"):
        with limits.holding("acme"):
            assert limits.running("acme") == 2
            assert ask(limits) == 1
            assert ask(limits, "bolt") == 0
        assert ask(limits) == 0
    assert limits.running("acme") == 0


def test_a_request_that_fails_has_ended() -> None:
    limits = Limits(at_once=1)
    with pytest.raises(RuntimeError), limits.holding("acme"):
        raise RuntimeError
    assert ask(limits) == 0


def test_what_is_refused_takes_nothing() -> None:
    limits = Limits(a_minute=2, at_once=1, clock=Clock())
    with limits.holding("acme"):
        assert [ask(limits) for _ in range(9)] == [1] * 9
    assert [ask(limits) for _ in range(2)] == [0, 30]


def test_what_is_said() -> None:
    limits = Limits(a_minute=1, clock=Clock())
    ask(limits)
    with pytest.raises(TooManyRequests) as raised, limits.holding("acme"):
        pass
    assert raised.value.status == 429
    assert raised.value.headers == {"Retry-After": "60"}
    assert raised.value.body()["error"]["code"] == "rate_limit_exceeded"
    assert "acme" not in raised.value.message


def test_a_request_counts_as_the_rows_that_it_asks_for() -> None:
    limits = Limits(at_once=10, a_minute=30, clock=Clock())
    with limits.holding("acme") as held:
        held.count_rows(8)
        assert limits.running("acme") == 8
        with limits.holding("acme") as other:
            with pytest.raises(TooManyRequests, match="9 responses or texts are being worked on"):
                other.count_rows(3)
            other.count_rows(2)
            held.count_rows(8)
            assert (limits.running("acme"), ask(limits), ask(limits, "bolt")) == (10, 1, 0)
    assert limits.running("acme") == 0
    for rows in (10, 10):
        with limits.holding("acme") as held:
            held.count_rows(rows)
    with pytest.raises(TooManyRequests, match="more than 30 responses or texts in a minute"), limits.holding("acme"):
        pass  # nothing was taken of what was refused


@pytest.mark.parametrize(("limit", "said"), [({"at_once": 4}, "4 at once"), ({"a_minute": 4}, "4 in a minute")])
def test_a_request_that_could_never_be_taken_is_not_asked_to_come_again(limit: dict[str, int], said: str) -> None:
    limits = Limits(**limit)
    with limits.holding("acme") as held, pytest.raises(TooManyRows, match=f"5 responses or texts .* {said}") as raised:
        held.count_rows(5)
    assert (raised.value.status, raised.value.headers) == (400, {})


def test_full_buckets_are_forgotten() -> None:
    clock = Clock()
    limits = Limits(a_minute=10, clock=clock)
    for i in range(500):
        ask(limits, f"t{i}")
        clock.now += 1
    assert len(limits) <= 2 * MINUTE


def test_memory_is_bounded_whoever_comes() -> None:
    limits = Limits(a_minute=10, tenants=50, clock=Clock())
    with limits.holding("stays"):
        for i in range(1000):
            ask(limits, f"t{i}")
        assert len(limits) <= 51
        assert limits.running("stays") == 1
    assert limits.running("stays") == 0


@given(
    a_minute=st.integers(1, 20),
    asked=st.lists(st.tuples(st.sampled_from(["acme", "bolt", "cats"]), st.floats(0, 30)), max_size=80),
)
def test_nobody_gets_more_than_it_may_nor_less(a_minute: int, asked: list[tuple[str, float]]) -> None:
    """In any stretch of time no more begin than a bucketful and what flows in; and who waits as told is let in."""
    clock = Clock()
    limits = Limits(a_minute=a_minute, clock=clock)
    begun: dict[str, list[float]] = {}
    for tenant, pause in asked:
        clock.now += pause
        seconds = ask(limits, tenant)
        if seconds == 0:
            begun.setdefault(tenant, []).append(clock.now)
            continue
        assert 1 <= seconds <= MINUTE
        assert limits._accounts[tenant].left + seconds * a_minute / MINUTE >= 1 - 1e-9
    for times in begun.values():
        for i, first in enumerate(times):
            for j in range(i, len(times)):
                assert j - i + 1 <= a_minute + (times[j] - first) * a_minute / MINUTE + 1e-6


@pytest.mark.parametrize("a_minute", [7, 20, 60])
def test_a_client_that_waits_as_it_is_told_is_let_in(a_minute: int) -> None:
    clock = Clock()
    limits = Limits(a_minute=a_minute, clock=clock)
    with limits.holding("acme") as held:
        held.count_rows(a_minute // 2)
    with pytest.raises(TooManyRequests) as refused, limits.holding("acme") as held:
        held.count_rows(a_minute)
    clock.now += int(refused.value.headers["Retry-After"])
    with limits.holding("acme") as held:
        held.count_rows(a_minute)
