"""Reports of the progress of long operations."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Called with the number of finished items and their total number: once with 0, then as items finish."""


def ignore_progress(done: int, total: int) -> None:
    """Report no progress."""
