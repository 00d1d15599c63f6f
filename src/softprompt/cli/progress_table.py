"""The progress of many runs at once: a line each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from softprompt.cli.interrupting import Interruption
from softprompt.cli.progress import PREPARING
from softprompt.cli.progress_lines import Activity, ProgressLines

if TYPE_CHECKING:
    from softprompt.training import Evaluated, Stepped


BETWEEN = 0.25  # seconds from one drawing to the next; fifty lines take a while


class Line:
    """A run's line, and the watcher that fills it in."""

    def __init__(self, table: ProgressTable, name: str):
        self.table, self.name = table, name
        self.steps = self.step = 0
        self.loss: float | None = None
        self.best = ""

    def begin(self, steps: int, done: int) -> None:
        """The run begins, or goes on."""
        self.steps, self.step = steps, done
        if done:
            self.table.console.print(f"{escape(self.name)}: going on after step {done}")
        self.table.draw()

    def stepped(self, event: Stepped) -> None:
        """A step was made."""
        self.step, self.loss = event.step, event.loss
        self.table.draw()

    def evaluated(self, event: Evaluated) -> None:
        """A figure was measured; where nobody looks at the table, it is printed."""
        name, value = next(iter(event.metrics.items()))
        if event.best:
            self.best = f"{name} {value:.4g} at {event.step}"
        if not self.table.console.is_terminal:
            self.table.console.print(f"{escape(self.name)}: step {event.step:>4}  validation  {name} {value:.4g}")

    def stop_requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.table.interruption.requested


class ProgressTable:
    """Draws all lines. The first Ctrl-C asks every run to stop with a checkpoint, the second one stops at once."""

    def __init__(self, console: Console, names: list[str]):
        self.console = console
        self.lines = {name: Line(self, name) for name in names}
        self.live = Live(console=console, transient=True, auto_refresh=False, vertical_overflow="ellipsis")
        self.preparing = console.status(PREPARING)
        self.activity = Activity(PREPARING)
        self.plain = ProgressLines(console, self._described)
        self.interruption = Interruption(console)
        self.drawn = 0.0

    def draw(self) -> None:
        """Show how far each run is."""
        self.preparing.stop()
        if not self.live.is_started:
            self.live.start()
        self.plain.look()
        if time.monotonic() - self.drawn < BETWEEN:
            return
        self.drawn = time.monotonic()
        table = Table("run", "step", "loss", "best on validation")
        for name, line in self.lines.items():
            loss = "–" if line.loss is None else f"{line.loss:.3f}"
            table.add_row(escape(name), f"{line.step}/{line.steps}", loss, line.best)
        self.live.update(table, refresh=self.console.is_terminal)

    def _described(self) -> str:
        """All runs together: their steps, and the mean of their losses."""
        lines, begun = self.lines.values(), self.activity
        if not (steps := sum(line.steps for line in lines)):
            return str(begun)
        done, losses = sum(line.step for line in lines), [line.loss for line in lines if line.loss is not None]
        if begun.total != steps:
            begun.begin(f"training {len(lines)} prompts, steps", steps, done)
        begun.update(done, f"mean loss {sum(losses) / len(losses):.3f}" if losses else "")
        return str(begun)

    @contextmanager
    def listening(self) -> Iterator[ProgressTable]:
        """Draw while the runs go on, and listen to Ctrl-C."""
        self.preparing.start()
        try:
            with self.plain.shown(), self.interruption.awaited():
                yield self
        finally:
            self.preparing.stop()
            self.live.stop()
