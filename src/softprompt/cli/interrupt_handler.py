"""Ctrl-C during training: the first requests a stop with a checkpoint, the second interrupts at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console


class InterruptHandler:
    """A handler of SIGINT that requests a stop on the first Ctrl-C.

    Attributes:
        stop_requested: whether Ctrl-C was pressed.
    """

    def __init__(self, console: Console):
        self.console = console
        self.stop_requested = False

    @contextmanager
    def handle_sigint(self) -> Iterator[None]:
        """Handle SIGINT inside a `with` block; restore the previous handler afterwards."""
        previous_handler = signal.signal(signal.SIGINT, self._on_sigint)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous_handler)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        if self.stop_requested:
            signal.default_int_handler(number, frame)
        self.stop_requested = True
        self.console.print("stopping after this step; press Ctrl-C again to stop at once")
