"""Stop strings are matched as by a naive search, and their length does not change the cost of a character."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.sampling.stop_matcher import StopAutomaton, StopMatcher


class NaiveMatcher:
    """Matcher that searches all pending text for every stop string, again for each chunk."""

    def __init__(self, stop_strings: list[str]):
        self.stops, self.held, self.is_stopped = stop_strings, "", False

    def add(self, new_text: str) -> str:
        text = self.held + new_text
        if starts := [start for stop in self.stops if (start := text.find(stop)) >= 0]:
            self.is_stopped, self.held = True, ""
            return text[: min(starts)]
        num_pending = max(n for n in range(len(text) + 1) if n == 0 or any(s.startswith(text[-n:]) for s in self.stops))
        self.held = text[len(text) - num_pending :]
        return text[: len(text) - num_pending]


STOPS = st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=4)


@given(stop_strings=STOPS, chunks=st.lists(st.text("ab", max_size=5), max_size=12))
def test_matches_equal_those_of_a_naive_search(stop_strings: list[str], chunks: list[str]) -> None:
    matcher, naive = StopMatcher(stop_strings), NaiveMatcher(stop_strings)
    for chunk in chunks:
        assert matcher.push_text(chunk) == naive.add(chunk)
        assert matcher.is_stopped == naive.is_stopped
        if matcher.is_stopped:
            break
    assert matcher.flush_text() == naive.held


class CountingAutomaton(StopAutomaton):
    """Automaton that counts the lookups of next nodes."""

    looks = 0

    def _next_node(self, node: int, character: str) -> int:
        while node and (node, character) not in self._children:
            node, self.looks = self._failure_links[node], self.looks + 1
        self.looks += 1
        return self._children.get((node, character), 0)


def count_lookups(length: int) -> int:
    """Count the lookups for a text of 1,000 characters that almost matches stop strings of a given length."""
    automaton = CountingAutomaton(["a" * length + str(i) for i in range(16)])
    automaton.looks = 0
    automaton.scan_text(0, "a" * 999 + "b")
    return automaton.looks


def test_cost_of_a_character_does_not_depend_on_stop_string_length() -> None:
    assert count_lookups(250) <= 2 * 1000
    assert count_lookups(500) <= 2 * 1000
