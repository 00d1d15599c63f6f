"""Stop texts are found as a naive search finds them, and cost the same however long they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.stop_matcher import StopAutomaton, StopMatcher


class NaiveMatcher:
    """Looks for every stop text in all that is held, anew for each piece."""

    def __init__(self, stops: list[str]):
        self.stops, self.held, self.is_stopped = stops, "", False

    def add(self, news: str) -> str:
        text = self.held + news
        if found := [at for stop in self.stops if (at := text.find(stop)) >= 0]:
            self.is_stopped, self.held = True, ""
            return text[: min(found)]
        begun = max(n for n in range(len(text) + 1) if n == 0 or any(s.startswith(text[-n:]) for s in self.stops))
        self.held = text[len(text) - begun :]
        return text[: len(text) - begun]


STOPS = st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=4)


@given(stops=STOPS, pieces=st.lists(st.text("ab", max_size=5), max_size=12))
def test_it_finds_what_a_naive_search_finds(stops: list[str], pieces: list[str]) -> None:
    matcher, naive = StopMatcher(stops), NaiveMatcher(stops)
    for piece in pieces:
        assert matcher.add(piece) == naive.add(piece)
        assert matcher.is_stopped == naive.is_stopped
        if matcher.is_stopped:
            break
    assert matcher.rest() == naive.held


class CountingAutomaton(StopAutomaton):
    """Counts how often it looks for a next node."""

    looks = 0

    def _follow(self, node: int, character: str) -> int:
        while node and (node, character) not in self._child:
            node, self.looks = self._fallback[node], self.looks + 1
        self.looks += 1
        return self._child.get((node, character), 0)


def count_looks(length: int) -> int:
    """At nodes, for a text of 1,000 characters that is held back by stop texts of so many, and then turns out none."""
    automaton = CountingAutomaton(["a" * length + str(i) for i in range(16)])
    automaton.looks = 0
    automaton.scan(0, "a" * 999 + "b")
    return automaton.looks


def test_a_character_costs_the_same_however_long_the_stop_texts_are() -> None:
    assert count_looks(250) <= 2 * 1000
    assert count_looks(500) <= 2 * 1000
