"""Where the first of several stop texts stands in a text that comes piece by piece. Knows no tokens and no torch.

All stop texts are looked for at once, and a character costs the same however long they are (Aho & Corasick 1975, doi
10.1145/360825.360855).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

ROOT = 0


class StopAutomaton:
    """The beginnings of stop texts as nodes. It never changes, so rows may share it.

    Args:
        stops: the texts; none is empty.

    Attributes:
        depth: characters of each node's text.
    """

    def __init__(self, stops: Sequence[str]):
        self._child: dict[tuple[int, str], int] = {}
        self.depth, self._fallback, self._longest = [0], [ROOT], [0]
        for stop in stops:
            self._longest[self._insert(stop)] = len(stop)
        self._link_fallbacks()

    def scan(self, node: int, text: str) -> tuple[int, int | None]:
        """Go on from a node with a text: the node it ends in, and where in the text the first stop text begins.

        The place is negative where the stop text began before this text; None where no stop text ends in it.
        """
        found: int | None = None
        for end, character in enumerate(text, start=1):
            node = self._follow(node, character)
            if longest := self._longest[node]:
                found = end - longest if found is None else min(found, end - longest)
        return node, found

    def _follow(self, node: int, character: str) -> int:
        while node != ROOT and (node, character) not in self._child:
            node = self._fallback[node]
        return self._child.get((node, character), ROOT)

    def _insert(self, stop: str) -> int:
        node = ROOT
        for character in stop:
            if (node, character) not in self._child:
                self._child[node, character] = len(self.depth)
                self.depth.append(self.depth[node] + 1)
                self._fallback.append(ROOT)
                self._longest.append(0)
            node = self._child[node, character]
        return node

    def _link_fallbacks(self) -> None:
        """Give each node the longest other one whose text it ends with, the shallow ones first."""
        for (parent, character), node in sorted(self._child.items(), key=lambda item: self.depth[item[1]]):
            if parent != ROOT:
                self._fallback[node] = self._follow(self._fallback[parent], character)
                self._longest[node] = self._longest[node] or self._longest[self._fallback[node]]


@lru_cache(maxsize=16)
def build_automaton(stops: tuple[str, ...]) -> StopAutomaton:
    """The automaton of stop texts, which the rows of a request share."""
    return StopAutomaton(stops)


class StopMatcher:
    """Finds stop texts in one response.

    Args:
        stops: the texts.

    Attributes:
        is_stopped: one was found.
    """

    def __init__(self, stops: Sequence[str]):
        self._automaton = build_automaton(tuple(stops))
        self._node, self._held = ROOT, ""  # text that may be the beginning of a stop text
        self.is_stopped = False

    def add(self, news: str) -> str:
        """The part of held and new text that is no part of a stop text, and cannot become one."""
        self._node, found = self._automaton.scan(self._node, news)
        text = self._held + news
        if found is not None:
            end, self.is_stopped, self._held = len(self._held) + found, True, ""
            return text[:end]
        certain = len(text) - self._automaton.depth[self._node]
        self._held = text[certain:]
        return text[:certain]

    def rest(self) -> str:
        """What was held back, when no text follows."""
        held, self._held = self._held, ""
        return held
