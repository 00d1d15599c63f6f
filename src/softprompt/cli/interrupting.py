"""Ctrl-C while something trains: the first asks it to stop with a checkpoint, the second one stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console


class Interruption:
    """Whether Ctrl-C was pressed.

    Attributes:
        requested: it was.
    """

    def __init__(self, console: Console):
        self.console = console
        self.requested = False

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Listen to Ctrl-C meanwhile."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            signal.default_int_handler(number, frame)
        self.requested = True
        self.console.print("stopping after this step; Ctrl-C again to stop at once")
