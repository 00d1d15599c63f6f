"""How much tenants were served: of those that are away only what somebody's turn depends on is remembered."""

from __future__ import annotations

from softprompt.engine.counters import TokenCounters


def test_who_comes_begins_where_the_least_served_is() -> None:
    counters = TokenCounters()
    counters.join("a", [])
    counters.add("a", 7.0)
    counters.join("b", ["a"])
    assert (counters["b"], counters["unknown"]) == (7, 0)
    counters.add("b", 5.0)
    counters.join("b", ["a"])
    assert counters["b"] == 12


def test_those_that_are_away_and_owe_nothing_are_forgotten_first_then_those_that_owe_least() -> None:
    counters = TokenCounters(absent=10)
    counters.join("here", [])
    counters.add("here", 50.0)
    for number in range(100):
        counters.join(str(number), ["here"])
        counters.add(str(number), float(number))
        counters.forget(["here"])
        assert len(counters) <= 1 + 2 * 10
    assert counters["here"] == 50
    assert [counters[str(number)] for number in (98, 99)] == [148, 149]
    assert counters["0"] == 0
    counters.clear()
    assert len(counters) == 0
