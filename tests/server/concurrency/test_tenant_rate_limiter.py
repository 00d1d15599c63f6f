"""Rate limits apply to each tenant separately."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.concurrency.tenant_rate_limiter import SECONDS_PER_MINUTE, TenantRateLimiter
from softprompt.server.exception_handlers import to_api_error
from softprompt.server.request_errors import RateLimitExceeded, TooManySequences


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(limits: TenantRateLimiter, tenant: str = "acme") -> int:
    """Ask once, for no time: 0, or after how many seconds to try again."""
    try:
        with limits.acquire_lease(tenant):
            return 0
    except RateLimitExceeded as error:
        return error.retry_after_s


def test_requests_are_unlimited_by_default() -> None:
    limits = TenantRateLimiter()
    assert [ask(limits) for _ in range(1000)] == [0] * 1000


def test_sequences_per_minute_are_limited() -> None:
    clock = Clock()
    limits = TenantRateLimiter(sequences_per_minute=3, clock=clock)
    assert [ask(limits) for _ in range(5)] == [0, 0, 0, 20, 20]
    assert ask(limits, "bolt") == 0
    clock.now += 19.5
    assert ask(limits) == 1
    clock.now += 0.5
    assert [ask(limits) for _ in range(2)] == [0, 20]
    clock.now += 1000 * SECONDS_PER_MINUTE  # nobody saves more than a minute up
    assert [ask(limits) for _ in range(4)] == [0, 0, 0, 20]


def test_parallel_sequences_are_limited() -> None:
    limits = TenantRateLimiter(max_parallel_sequences=2)
    with limits.acquire_lease("acme"):
        with limits.acquire_lease("acme"):
            assert limits.count_running("acme") == 2
            assert ask(limits) == 1
            assert ask(limits, "bolt") == 0
        assert ask(limits) == 0
    assert limits.count_running("acme") == 0


def test_a_request_that_raises_releases_its_sequences() -> None:
    limits = TenantRateLimiter(max_parallel_sequences=1)
    with pytest.raises(RuntimeError), limits.acquire_lease("acme"):
        raise RuntimeError
    assert ask(limits) == 0


def test_a_rejected_request_is_not_charged() -> None:
    limits = TenantRateLimiter(sequences_per_minute=2, max_parallel_sequences=1, clock=Clock())
    with limits.acquire_lease("acme"):
        assert [ask(limits) for _ in range(9)] == [1] * 9
    assert [ask(limits) for _ in range(2)] == [0, 30]


def test_a_rate_limit_error_has_a_retry_after_header_and_no_tenant_name() -> None:
    limits = TenantRateLimiter(sequences_per_minute=1, clock=Clock())
    ask(limits)
    with pytest.raises(RateLimitExceeded) as raised, limits.acquire_lease("acme"):
        pass
    error = to_api_error(raised.value)
    assert error.status == 429
    assert error.headers == {"retry-after": "60"}
    assert error.to_dict()["error"]["code"] == "rate_limit_exceeded"
    assert "acme" not in error.message


def test_a_request_is_charged_for_its_number_of_sequences() -> None:
    limits = TenantRateLimiter(max_parallel_sequences=10, sequences_per_minute=30, clock=Clock())
    with limits.acquire_lease("acme") as held:
        held.charge_sequences(8)
        assert limits.count_running("acme") == 8
        with limits.acquire_lease("acme") as other:
            with pytest.raises(RateLimitExceeded, match="9 responses or texts are running"):
                other.charge_sequences(3)
            other.charge_sequences(2)
            held.charge_sequences(8)
            assert (limits.count_running("acme"), ask(limits), ask(limits, "bolt")) == (10, 1, 0)
    assert limits.count_running("acme") == 0
    for rows in (10, 10):
        with limits.acquire_lease("acme") as held:
            held.charge_sequences(rows)
    with (
        pytest.raises(RateLimitExceeded, match="more than 30 responses or texts in a minute"),
        limits.acquire_lease("acme"),
    ):
        pass  # nothing was taken of what was refused


@pytest.mark.parametrize(
    ("limit", "said"), [({"max_parallel_sequences": 4}, "4 at once"), ({"sequences_per_minute": 4}, "4 in a minute")]
)
def test_a_request_that_can_never_fit_a_limit_gets_no_retry_after(limit: dict[str, int], said: str) -> None:
    limits = TenantRateLimiter(**limit)
    with (
        limits.acquire_lease("acme") as held,
        pytest.raises(TooManySequences, match=f"5 responses or texts .* {said}") as raised,
    ):
        held.charge_sequences(5)
    error = to_api_error(raised.value)
    assert (error.status, error.headers) == (400, {})


def test_full_buckets_are_dropped() -> None:
    clock = Clock()
    limits = TenantRateLimiter(sequences_per_minute=10, clock=clock)
    for i in range(500):
        ask(limits, f"t{i}")
        clock.now += 1
    assert len(limits) <= 2 * SECONDS_PER_MINUTE


def test_the_number_of_buckets_is_bounded() -> None:
    limits = TenantRateLimiter(sequences_per_minute=10, max_tenants=50, clock=Clock())
    with limits.acquire_lease("stays"):
        for i in range(1000):
            ask(limits, f"t{i}")
        assert len(limits) <= 51
        assert limits.count_running("stays") == 1
    assert limits.count_running("stays") == 0


@given(
    a_minute=st.integers(1, 20),
    asked=st.lists(st.tuples(st.sampled_from(["acme", "bolt", "cats"]), st.floats(0, 30)), max_size=80),
)
def test_no_tenant_exceeds_its_rate_limit_in_any_period(a_minute: int, asked: list[tuple[str, float]]) -> None:
    """A period admits at most a full bucket and its refill, and after the retry time a request is admitted."""
    clock = Clock()
    limits = TenantRateLimiter(sequences_per_minute=a_minute, clock=clock)
    begun: dict[str, list[float]] = {}
    for tenant, pause in asked:
        clock.now += pause
        seconds = ask(limits, tenant)
        if seconds == 0:
            begun.setdefault(tenant, []).append(clock.now)
            continue
        assert 1 <= seconds <= SECONDS_PER_MINUTE
        assert limits._buckets[tenant].available + seconds * a_minute / SECONDS_PER_MINUTE >= 1 - 1e-9
    for times in begun.values():
        for i, first in enumerate(times):
            for j in range(i, len(times)):
                assert j - i + 1 <= a_minute + (times[j] - first) * a_minute / SECONDS_PER_MINUTE + 1e-6


@pytest.mark.parametrize("a_minute", [7, 20, 60])
def test_a_client_that_respects_retry_after_is_accepted(a_minute: int) -> None:
    clock = Clock()
    limits = TenantRateLimiter(sequences_per_minute=a_minute, clock=clock)
    with limits.acquire_lease("acme") as held:
        held.charge_sequences(a_minute // 2)
    with pytest.raises(RateLimitExceeded) as refused, limits.acquire_lease("acme") as held:
        held.charge_sequences(a_minute)
    clock.now += int(to_api_error(refused.value).headers["retry-after"])
    with limits.acquire_lease("acme") as held:
        held.charge_sequences(a_minute)
