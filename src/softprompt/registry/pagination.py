"""Pages of long lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

PAGE_SIZE = 500  # number of items that an iteration over a whole list reads and holds in memory at a time


@dataclass(frozen=True)
class ResultPage(Generic[T]):
    """A page of a list, in the order of the list.

    Attributes:
        items: items of the page.
        has_more: whether the list continues after the page.
    """

    items: tuple[T, ...]
    has_more: bool

    @classmethod
    def from_results(cls, results: Sequence[T], limit: int) -> ResultPage[T]:
        """Make a page of at most `limit` items from a query with a limit of one more."""
        return cls(tuple(results[:limit]), len(results) > limit)


def iterate_pages(fetch_page: Callable[[T | None], ResultPage[T]]) -> Iterator[T]:
    """Iterate over a whole list, a page at a time.

    Args:
        fetch_page: returns the page after an item, or the first page for None.
    """
    last: T | None = None
    while True:
        page = fetch_page(last)
        yield from page.items
        if not page.has_more:
            return
        last = page.items[-1]
