"""Suspends processes in turn: even idle ones wake up often enough to slow the others down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil


class ProcessSuspender:
    """Suspends processes with all their children.

    Args:
        processes: process ids by name.
    """

    def __init__(self, processes: Mapping[str, int]):
        self._processes = dict(processes)

    @contextmanager
    def suspend_others(self, name: str) -> Iterator[None]:
        """Let only this process run within the context."""
        others = [each for other, pid in self._processes.items() if other != name for each in _list_process_tree(pid)]
        for each in others:
            each.suspend()
        try:
            yield
        finally:
            for each in reversed(others):
                with suppress(psutil.NoSuchProcess):
                    each.resume()


def _list_process_tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
