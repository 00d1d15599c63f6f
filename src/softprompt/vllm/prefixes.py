"""Prefixes in RAM, those that were used last, under the hashes of their contents. Knows neither vLLM nor a store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from torch import Tensor

AT_ONCE = 4  # prompts that are read at the same time


@dataclass
class Counts:
    """What has happened.

    Attributes:
        read: prompts that were read from the store.
        found: times that one was in RAM.
        evicted: prompts that made room for others.
        placed: positions that were put in front of requests.
        refused: requests that were not answered.
    """

    read: int = 0
    found: int = 0
    evicted: int = 0
    placed: int = 0
    refused: int = 0


class Prefixes:
    """Prefixes that are read once, however many wait, and kept as long as there is room.

    Args:
        read: how the prefix of a content is read; called on threads of its own.
        limit: bytes that they may take together; one that takes more is kept until the next one comes.
        counts: where it is counted.

    Attributes:
        counts: the same.
        size: bytes that they take.
    """

    def __init__(self, read: Callable[[str], Tensor], limit: int, counts: Counts):
        self._read, self._limit, self.counts, self.size = read, limit, counts, 0
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._coming: dict[str, Future[Tensor]] = {}
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, "softprompt")

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, content: str) -> bool:
        return content in self._kept

    def get(self, content: str) -> Tensor:
        """A prefix, waited for where it must be read. What reading raises is raised here."""
        return self.coming(content).result()

    def coming(self, content: str) -> Future[Tensor]:
        """A prefix that is here, or will be."""
        with self._lock:
            if (kept := self._kept.get(content)) is not None:
                self._kept.move_to_end(content)
                self.counts.found += 1
                found: Future[Tensor] = Future()
                found.set_result(kept)
                return found
            if content not in self._coming:
                self._coming[content] = self._threads.submit(self._fetch, content)
            return self._coming[content]

    def close(self) -> None:
        """Read no more; what is being read is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, content: str) -> Tensor:
        try:
            prefix = self._read(content)
        except BaseException:
            with self._lock:
                del self._coming[content]
            raise
        with self._lock:
            del self._coming[content]
            self._keep(content, prefix)
        return prefix

    def _keep(self, content: str, prefix: Tensor) -> None:
        self.counts.read += 1
        self._kept[content] = prefix
        self.size += prefix.nbytes
        while self.size > self._limit and len(self._kept) > 1:
            self.size -= self._kept.popitem(last=False)[1].nbytes
            self.counts.evicted += 1
