"""Tenants with recent requests."""

from __future__ import annotations

from softprompt.recent_tenants import RecentTenants


def test_tenants_are_recent_within_the_window() -> None:
    now = 0.0
    recent = RecentTenants(seconds=10.0, clock=lambda: now)
    assert not recent.has_others([])
    recent.add_request("acme")
    assert recent.has_others([])
    assert not recent.has_others(["acme"])
    now = 5.0
    recent.add_request("other")
    assert recent.has_others(["acme"])
    now = 11.0
    assert not recent.has_others(["other"])
    now = 16.0
    assert not recent.has_others([])
    assert len(recent) == 0


def test_tenants_without_recent_requests_are_deleted() -> None:
    now = 0.0
    recent = RecentTenants(seconds=10.0, clock=lambda: now)
    for number in range(1000):
        now += 1.0
        recent.add_request(str(number))
    assert len(recent) <= 11
