"""How much tenants were served: of those that are away only what somebody's turn depends on is remembered."""

from __future__ import annotations

from softprompt.service_counters import ServiceCounters


def test_who_comes_begins_where_the_least_served_is() -> None:
    counters = ServiceCounters()
    counters.enter("a")
    counters.charge("a", 7.0)
    counters.enter("b")
    assert (counters["b"], counters["unknown"]) == (7, 0)
    counters.charge("b", 5.0)
    counters.leave("b")
    counters.enter("b")
    assert counters["b"] == 12


def test_those_that_are_away_and_owe_nothing_are_forgotten_first_then_those_that_owe_least() -> None:
    counters = ServiceCounters(absent=10)
    counters.enter("here")
    counters.charge("here", 50.0)
    for number in range(100):
        counters.enter(str(number))
        counters.charge(str(number), float(number))
        counters.leave(str(number))
        assert len(counters) <= 1 + 2 * 10
    assert counters["here"] == 50
    assert [counters[str(number)] for number in (98, 99)] == [148, 149]
    assert counters["0"] == 0
    counters.leave("here")
    assert len(counters) == 0


def test_who_is_charged_while_it_is_away_is_not_remembered_for_ever() -> None:
    counters = ServiceCounters(absent=10)
    for number in range(1000):
        counters.charge(str(number), 1.0)
        assert len(counters) <= 1 + 2 * 10


def test_a_tenant_that_comes_back_has_some_credit_and_no_more() -> None:
    counters = ServiceCounters(credit=2.0)
    counters.enter("busy")
    counters.charge("busy", 10.0)
    counters.enter("new")
    assert counters["new"] == 8.0
    counters.charge("new", 5.0)
    counters.leave("new")
    counters.enter("new")
    assert counters["new"] == 13.0  # what it was served is not forgotten
