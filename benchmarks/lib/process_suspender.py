"""Processes that take turns: even as they wait they wake up often enough to cost the others some of their speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil


class ProcessSuspender:
    """Suspends processes with all that they started.

    Args:
        processes: their ids, by names.
    """

    def __init__(self, processes: Mapping[str, int]):
        self._processes = dict(processes)

    @contextmanager
    def suspend_others(self, name: str) -> Iterator[None]:
        """Only this one runs, as long as this lasts."""
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
