"""Prefix cache: keys and values of computed text blocks, for requests that begin alike. Imports no torch.

A text is cut into blocks of tokens. The hash of a block covers the tenant, the prompt and all tokens up to the end of
the block. So a request of another tenant, with another prompt or another beginning never matches (prefix caching: Zheng
et al. 2023, arXiv 2312.07104; hashed as in vLLM).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

BLOCK_SIZE = 16  # tokens

State = TypeVar("State")


@dataclass
class PrefixCache(Generic[State]):
    """LRU cache of blocks.

    Written by hand: cachetools evicts while a block is inserted, which may be an earlier block of the same text, and
    marks blocks in the order of their use, where the first block of a text must be evicted last.

    Attributes:
        max_blocks: maximum number of blocks.
        hits: number of blocks that were found.
        misses: number of whole blocks that were not found.
    """

    max_blocks: int
    hits: int = 0
    misses: int = 0
    _blocks: OrderedDict[bytes, State] = field(default_factory=OrderedDict)

    def match_prefix(self, salt: Sequence[str], token_ids: Sequence[int]) -> list[State]:
        """Return the cached blocks of the longest prefix of `token_ids`.

        The last token is never matched: it must be computed to give logits.
        """
        block_hashes = list(_iter_block_hashes(salt, token_ids[: len(token_ids) - 1])) if self.max_blocks else []
        matches = []
        for block_hash in block_hashes:
            if block_hash not in self._blocks:
                break
            matches.append(self._blocks[block_hash])
        self.hits += len(matches)
        self.misses += len(block_hashes) - len(matches)
        self._mark_used(block_hashes[: len(matches)])
        return matches

    def insert_blocks(
        self, salt: Sequence[str], token_ids: Sequence[int], read_block: Callable[[int, int], State]
    ) -> None:
        """Insert the whole blocks of a text; `read_block(start, stop)` returns the states of the tokens in between."""
        block_hashes = list(_iter_block_hashes(salt, token_ids))[: self.max_blocks]
        for index, block_hash in enumerate(block_hashes):
            if block_hash not in self._blocks:
                self._blocks[block_hash] = read_block(index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE)
        self._mark_used(block_hashes)
        while len(self._blocks) > self.max_blocks:
            self._blocks.popitem(last=False)

    def __len__(self) -> int:
        return len(self._blocks)

    def _mark_used(self, block_hashes: Sequence[bytes]) -> None:
        """Mark blocks as used, the first one last: a block is useless without those before it."""
        for block_hash in reversed(block_hashes):
            self._blocks.move_to_end(block_hash)


def _iter_block_hashes(salt: Sequence[str], token_ids: Sequence[int]) -> Iterator[bytes]:
    """Yield the hashes of the whole blocks of a text."""
    block_hash = hashlib.sha256(repr(tuple(salt)).encode()).digest()
    for end in range(BLOCK_SIZE, len(token_ids) + 1, BLOCK_SIZE):
        block_hash = hashlib.sha256(block_hash + repr(tuple(token_ids[end - BLOCK_SIZE : end])).encode()).digest()
        yield block_hash
