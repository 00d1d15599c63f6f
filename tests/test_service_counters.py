"""Service counters of tenants, of which inactive ones are kept only while they matter."""

from __future__ import annotations

from softprompt.service_counters import ServiceCounters


def test_a_new_tenant_starts_at_the_lowest_active_counter() -> None:
    counters = ServiceCounters()
    counters.activate_tenant("a")
    counters.charge_tenant("a", 7.0)
    counters.activate_tenant("b")
    assert (counters["b"], counters["unknown"]) == (7, 0)
    counters.charge_tenant("b", 5.0)
    counters.deactivate_tenant("b")
    counters.activate_tenant("b")
    assert counters["b"] == 12


def test_inactive_counters_are_evicted_lowest_first() -> None:
    counters = ServiceCounters(max_inactive=10)
    counters.activate_tenant("here")
    counters.charge_tenant("here", 50.0)
    for number in range(100):
        counters.activate_tenant(str(number))
        counters.charge_tenant(str(number), float(number))
        counters.deactivate_tenant(str(number))
        assert len(counters) <= 1 + 2 * 10
    assert counters["here"] == 50
    assert [counters[str(number)] for number in (98, 99)] == [148, 149]
    assert counters["0"] == 0
    counters.deactivate_tenant("here")
    assert len(counters) == 0


def test_charged_inactive_tenants_are_evicted() -> None:
    counters = ServiceCounters(max_inactive=10)
    for number in range(1000):
        counters.charge_tenant(str(number), 1.0)
        assert len(counters) <= 1 + 2 * 10


def test_a_returning_tenant_has_limited_credit() -> None:
    counters = ServiceCounters(credit=2.0)
    counters.activate_tenant("busy")
    counters.charge_tenant("busy", 10.0)
    counters.activate_tenant("new")
    assert counters["new"] == 8.0
    counters.charge_tenant("new", 5.0)
    counters.deactivate_tenant("new")
    counters.activate_tenant("new")
    assert counters["new"] == 13.0  # its service is kept
