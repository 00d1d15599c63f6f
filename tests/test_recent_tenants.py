"""Who asked within the last seconds."""

from __future__ import annotations

from softprompt.recent_tenants import RecentTenants


def test_tenants_count_for_some_seconds_after_they_asked() -> None:
    now = 0.0
    recent = RecentTenants(seconds=10.0, clock=lambda: now)
    assert not recent.has_others([])
    recent.add("acme")
    assert recent.has_others([])
    assert not recent.has_others(["acme"])
    now = 5.0
    recent.add("other")
    assert recent.has_others(["acme"])
    now = 11.0
    assert not recent.has_others(["other"])
    now = 16.0
    assert not recent.has_others([])
    assert len(recent) == 0


def test_nothing_is_kept_of_tenants_that_asked_long_ago() -> None:
    now = 0.0
    recent = RecentTenants(seconds=10.0, clock=lambda: now)
    for number in range(1000):
        now += 1.0
        recent.add(str(number))
    assert len(recent) <= 11
