"""What is kept of texts that were read, for those that begin alike. Knows no torch.

A text is cut into blocks of tokens. A block's name is made of whose text it is, behind which prompt, and of all tokens
up to its end, so whoever asks with other words, behind another prompt or as another tenant finds nothing (prefix
caching: Zheng et al. 2023, arXiv 2312.07104; named as in vLLM).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

BLOCK = 16  # tokens

State = TypeVar("State")


@dataclass
class Beginnings(Generic[State]):
    """Blocks, as many as there is room for; those that were not asked for the longest go first.

    Attributes:
        room: blocks that are kept.
        hits: blocks that were found.
        misses: whole blocks that were asked for in vain.
    """

    room: int
    hits: int = 0
    misses: int = 0
    _blocks: OrderedDict[bytes, State] = field(default_factory=OrderedDict)

    def find(self, whose: Sequence[str], ids: Sequence[int]) -> list[State]:
        """What there is of the first blocks of a text, one behind the other, but never of its last token."""
        names = list(_names(whose, ids[: len(ids) - 1])) if self.room else []
        found = []
        for name in names:
            if name not in self._blocks:
                break
            found.append(self._blocks[name])
        self.hits += len(found)
        self.misses += len(names) - len(found)
        self._touch(names[: len(found)])
        return found

    def keep(self, whose: Sequence[str], ids: Sequence[int], state_of: Callable[[int, int], State]) -> None:
        """Keep the whole blocks of a text, each as `state_of` gives it from where to where it goes."""
        names = list(_names(whose, ids))[: self.room]
        for index, name in enumerate(names):
            if name not in self._blocks:
                self._blocks[name] = state_of(index * BLOCK, (index + 1) * BLOCK)
        self._touch(names)
        while len(self._blocks) > self.room:
            self._blocks.popitem(last=False)

    def __len__(self) -> int:
        return len(self._blocks)

    def _touch(self, names: Sequence[bytes]) -> None:
        """These are wanted. A block is of no use without those before it, so the first ones stay the longest."""
        for name in reversed(names):
            self._blocks.move_to_end(name)


def _names(whose: Sequence[str], ids: Sequence[int]) -> Iterator[bytes]:
    """The names of a text's whole blocks."""
    name = hashlib.sha256(repr(tuple(whose)).encode()).digest()
    for end in range(BLOCK, len(ids) + 1, BLOCK):
        name = hashlib.sha256(name + repr(tuple(ids[end - BLOCK : end])).encode()).digest()
        yield name
