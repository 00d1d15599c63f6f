"""Progress in plain lines where there is no terminal: after two seconds, then at growing intervals.

A log that stays empty for minutes looks like a hanging program. The lines go to standard error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

FIRST_LINE_DELAY_S = 2.0  # delay of the first line
LINE_INTERVALS_S = (5.0, 10.0, 15.0, 30.0)  # delays between lines; the last one repeats
POLL_INTERVAL_S = 0.25  # period of the thread that checks whether a line is due

Item = TypeVar("Item")


def get_monotonic_time() -> float:
    """Return the monotonic time in seconds. Progress reads the clock only here, so that tests can replace it."""
    return time.monotonic()


def format_duration(seconds: float) -> str:
    """Format a duration: `40 s`, `3 min`, `1 h 5 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class TaskProgress:
    """The progress of one task.

    Attributes:
        description: name of the current phase.
        total: number of items; None if the phase counts no items.
        completed: number of completed items.
        detail: further information, such as the loss.
        on_update: function to call after each update.
    """

    def __init__(self, description: str, total: int | None = None, completed: int = 0):
        self.on_update: Callable[[], None] = lambda: None
        self.start_phase(description, total, completed)

    def start_phase(self, description: str, total: int | None = None, completed: int = 0) -> None:
        """Start a new phase, and reset the counters."""
        self.description, self.total, self.completed, self.detail = description, total, completed, ""
        self._started_at, self._initial_completed = get_monotonic_time(), completed

    def on_progress(self, description: str, completed: int, total: int) -> None:
        """Update the progress from a progress callback, and start a new phase if the description changed."""
        if (description, total) != (self.description, self.total):
            self.start_phase(description, total, completed)
        self.update(completed)

    def update(self, completed: int, detail: str = "") -> None:
        """Set the number of completed items."""
        self.completed, self.detail = completed, detail
        self.on_update()

    def __str__(self) -> str:
        """Return the progress as one line."""
        elapsed = get_monotonic_time() - self._started_at
        if self.total is None:
            return ", ".join(filter(None, (self.description, self.detail, format_duration(elapsed))))
        return ", ".join(
            filter(
                None, (f"{self.description}: {self.completed} of {self.total}", self.detail, self._time_left(elapsed))
            )
        )

    def _time_left(self, elapsed: float) -> str:
        """Estimate the remaining time from the mean time per item so far."""
        num_new = self.completed - self._initial_completed
        return (
            f"about {format_duration(elapsed / num_new * ((self.total or 0) - self.completed))} left"
            if num_new > 0
            else ""
        )


class ProgressLines:
    """A printer of progress lines at growing intervals."""

    def __init__(self, console: Console, source: TaskProgress | Callable[[], str]):
        self.console, self._source = console, source
        if isinstance(source, TaskProgress):
            source.on_update = self.print_if_due
        self._next_line_at, self._intervals = (
            get_monotonic_time() + FIRST_LINE_DELAY_S,
            chain(LINE_INTERVALS_S, repeat(LINE_INTERVALS_S[-1])),
        )
        self._lock, self._is_done = threading.Lock(), threading.Event()

    def print_if_due(self) -> None:
        """Print a line if one is due and the output is not a terminal."""
        with self._lock:
            if self.console.is_terminal or get_monotonic_time() < self._next_line_at:
                return
            self._next_line_at = get_monotonic_time() + next(self._intervals)
            line = str(self._source) if isinstance(self._source, TaskProgress) else self._source()
            self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def print_periodically(self) -> Iterator[None]:
        """Print due lines from a thread inside a `with` block, even while the main thread is busy."""
        poller = threading.Thread(target=self._poll_until_done, daemon=True, name="progress lines")
        if not self.console.is_terminal:
            poller.start()
        try:
            yield
        finally:
            self._is_done.set()
            if poller.is_alive():
                poller.join()

    def _poll_until_done(self) -> None:
        while not self._is_done.wait(POLL_INTERVAL_S):
            self.print_if_due()


@contextmanager
def show_activity(console: Console, description: str, total: int | None = None) -> Iterator[TaskProgress]:
    """Show an activity: a spinner on a terminal, lines elsewhere."""
    activity = TaskProgress(description, total)
    with console.status(escape(description)), ProgressLines(console, activity).print_periodically():
        yield activity


@contextmanager
def show_progress(console: Console, description: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, a bar on a terminal, lines elsewhere; yield a callback for the finished and all items."""
    activity = TaskProgress(description)
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
        ProgressLines(console, activity).print_periodically(),
    ):
        bar_task = bar.add_task(escape(description), total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(bar_task, completed=done, total=total)
            activity.on_progress(description, done, total)

        yield on_progress


def track_items(console: Console, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield the items and show the progress: a bar on a terminal, lines elsewhere."""
    activity = TaskProgress(description, total)
    hidden = not console.is_terminal
    with (
        Progress(console=console, transient=True, disable=hidden) as bar,
        ProgressLines(console, activity).print_periodically(),
    ):
        for done, item in enumerate(bar.track(items, total, description=escape(description)), 1):
            yield item
            activity.update(done)
