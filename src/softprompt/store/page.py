"""A part of a long list, and whether more of it comes behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

AT_ONCE = 500  # of a list that is gone through to its end: what is read, and held in memory, at a time


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of a list, in its order.

    Attributes:
        items: those.
        has_more: whether the list goes on behind them.
    """

    items: tuple[T, ...]
    has_more: bool

    @classmethod
    def cut_from(cls, found: Sequence[T], limit: int) -> Page[T]:
        """A page of `limit` items, from a search for one more."""
        return cls(tuple(found[:limit]), len(found) > limit)


def go_through(read: Callable[[T | None], Page[T]]) -> Iterator[T]:
    """All of a list, a page at a time.

    Args:
        read: gives the page behind an item, or the first one.
    """
    last: T | None = None
    while True:
        page = read(last)
        yield from page.items
        if not page.has_more:
            return
        last = page.items[-1]
