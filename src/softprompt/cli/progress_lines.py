"""How far something is, in plain lines where no terminal draws it: after two seconds, then at growing intervals.

A log that stays empty for minutes looks like a program that hangs. The lines go to standard error, as all notes do.
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

FIRST = 2.0  # seconds until the first line
BETWEEN = (5.0, 10.0, 15.0, 30.0)  # seconds from one line to the next; the last holds from then on
LOOKING = 0.25  # seconds from one look at the clock to the next

Item = TypeVar("Item")


def seconds_now() -> float:
    """The time, in seconds since some moment; the one place that lines and durations read it."""
    return time.monotonic()


def duration(seconds: float) -> str:
    """A time as people read it: `40 s`, `3 min`, `1 h 5 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Activity:
    """What runs, and how far it is.

    Attributes:
        what: in words.
        total: how many there are of what is counted; None where nothing is.
        done: how many are done.
        detail: what else there is to say, such as the loss.
        on_update: called when something is done.
    """

    def __init__(self, what: str, total: int | None = None, done: int = 0):
        self.on_update: Callable[[], None] = lambda: None
        self.begin(what, total, done)

    def begin(self, what: str, total: int | None = None, done: int = 0) -> None:
        """Something else runs from now on."""
        self.what, self.total, self.done, self.detail = what, total, done, ""
        self._began, self._began_with = seconds_now(), done

    def follow(self, what: str, done: int, total: int) -> None:
        """Count what somebody else tells of."""
        if (what, total) != (self.what, self.total):
            self.begin(what, total, done)
        self.update(done)

    def update(self, done: int, detail: str = "") -> None:
        """So many are done."""
        self.done, self.detail = done, detail
        self.on_update()

    def __str__(self) -> str:
        """As a line."""
        elapsed = seconds_now() - self._began
        if self.total is None:
            return ", ".join(filter(None, (self.what, self.detail, duration(elapsed))))
        return ", ".join(filter(None, (f"{self.what}: {self.done} of {self.total}", self.detail, self._left(elapsed))))

    def _left(self, elapsed: float) -> str:
        """The time left, as if what is to come took as long as what was."""
        made = self.done - self._began_with
        return f"about {duration(elapsed / made * ((self.total or 0) - self.done))} left" if made > 0 else ""


class ProgressLines:
    """Prints a line whenever one is due, until it is over."""

    def __init__(self, console: Console, described: Activity | Callable[[], str]):
        self.console, self._described = console, described
        if isinstance(described, Activity):
            described.on_update = self.look
        self._due, self._between = seconds_now() + FIRST, chain(BETWEEN, repeat(BETWEEN[-1]))
        self._lock, self._over = threading.Lock(), threading.Event()

    def look(self) -> None:
        """Print a line if one is due. A terminal draws for itself."""
        with self._lock:
            if self.console.is_terminal or seconds_now() < self._due:
                return
            self._due = seconds_now() + next(self._between)
            line = str(self._described) if isinstance(self._described, Activity) else self._described()
            self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Look again and again meanwhile, whatever the program is busy with."""
        looking = threading.Thread(target=self._look_on, daemon=True, name="progress lines")
        if not self.console.is_terminal:
            looking.start()
        try:
            yield
        finally:
            self._over.set()
            if looking.is_alive():
                looking.join()

    def _look_on(self) -> None:
        while not self._over.wait(LOOKING):
            self.look()


@contextmanager
def busy(console: Console, what: str, total: int | None = None) -> Iterator[Activity]:
    """Show that something runs: a spinner on a terminal, lines elsewhere."""
    activity = Activity(what, total)
    with console.status(escape(what)), ProgressLines(console, activity).shown():
        yield activity


def tracked(console: Console, items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """The items, shown as they are gone through: a bar on a terminal, lines elsewhere."""
    activity = Activity(what, total)
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar, ProgressLines(console, activity).shown():
        for done, item in enumerate(bar.track(items, total, description=escape(what)), 1):
            yield item
            activity.update(done)
