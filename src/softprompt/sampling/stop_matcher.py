"""Search for the first of several stop strings in text that arrives in chunks. Imports no torch.

All stop strings are searched at once, and the cost of a character does not depend on their lengths (Aho & Corasick
1975, doi 10.1145/360825.360855).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

ROOT_NODE = 0


class StopAutomaton:
    """Aho-Corasick automaton, whose nodes are the prefixes of the stop strings. Immutable: sequences may share it.

    Args:
        stop_strings: stop strings; none may be empty.

    Attributes:
        node_depths: length of each node's prefix, in characters.
    """

    def __init__(self, stop_strings: Sequence[str]):
        self._children: dict[tuple[int, str], int] = {}
        self.node_depths, self._failure_links, self._match_lengths = [0], [ROOT_NODE], [0]
        for stop in stop_strings:
            self._match_lengths[self._insert_string(stop)] = len(stop)
        self._build_failure_links()

    def scan_text(self, node: int, text: str) -> tuple[int, int | None]:
        """Scan a text from a node; return the last node, and the start of the first stop string in the text.

        The start is negative if the stop string began in an earlier text, and None if no stop string ends in this one.
        """
        start: int | None = None
        for end, character in enumerate(text, start=1):
            node = self._next_node(node, character)
            if match_length := self._match_lengths[node]:
                start = end - match_length if start is None else min(start, end - match_length)
        return node, start

    def _next_node(self, node: int, character: str) -> int:
        while node != ROOT_NODE and (node, character) not in self._children:
            node = self._failure_links[node]
        return self._children.get((node, character), ROOT_NODE)

    def _insert_string(self, stop_string: str) -> int:
        node = ROOT_NODE
        for character in stop_string:
            if (node, character) not in self._children:
                self._children[node, character] = len(self.node_depths)
                self.node_depths.append(self.node_depths[node] + 1)
                self._failure_links.append(ROOT_NODE)
                self._match_lengths.append(0)
            node = self._children[node, character]
        return node

    def _build_failure_links(self) -> None:
        """Link each node to the longest other node that is its suffix, in ascending order of depth."""
        for (parent, character), node in sorted(self._children.items(), key=lambda item: self.node_depths[item[1]]):
            if parent != ROOT_NODE:
                self._failure_links[node] = self._next_node(self._failure_links[parent], character)
                self._match_lengths[node] = self._match_lengths[node] or self._match_lengths[self._failure_links[node]]


@lru_cache(maxsize=16)
def build_stop_automaton(stop_strings: tuple[str, ...]) -> StopAutomaton:
    """Return the automaton of stop strings, which the sequences of a request share."""
    return StopAutomaton(stop_strings)


class StopMatcher:
    """Matcher of stop strings in one response.

    Args:
        stop_strings: stop strings.

    Attributes:
        is_stopped: whether a stop string was found.
    """

    def __init__(self, stop_strings: Sequence[str]):
        self._automaton = build_stop_automaton(tuple(stop_strings))
        self._node, self._pending_text = ROOT_NODE, ""  # text that may be the beginning of a stop string
        self.is_stopped = False

    def push_text(self, new_text: str) -> str:
        """Return the pending and new text that is certainly not part of a stop string."""
        self._node, start = self._automaton.scan_text(self._node, new_text)
        text = self._pending_text + new_text
        if start is not None:
            end, self.is_stopped, self._pending_text = len(self._pending_text) + start, True, ""
            return text[:end]
        num_certain = len(text) - self._automaton.node_depths[self._node]
        self._pending_text = text[num_certain:]
        return text[:num_certain]

    def flush_text(self) -> str:
        """Return the text that was held back, when no further text follows."""
        pending, self._pending_text = self._pending_text, ""
        return pending
