"""Progress of several runs: a table with one line per run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from softprompt.cli.interrupt_handler import InterruptHandler
from softprompt.cli.progress_bar import PREPARING_MESSAGE
from softprompt.cli.progress_lines import ProgressLines, TaskProgress

if TYPE_CHECKING:
    from softprompt.training import EvalEvent, StepEvent


REDRAW_INTERVAL_S = 0.25  # minimum time between two drawings, because drawing fifty lines is slow


class RunProgressLine:
    """A callback that updates the table line of one run."""

    def __init__(self, table: ProgressTable, name: str):
        self.table, self.name = table, name
        self.num_steps = self.step = 0
        self.loss: float | None = None
        self.best = ""

    def on_begin(self, steps: int, done: int) -> None:
        """Initialize the line when the run starts or continues."""
        self.num_steps, self.step = steps, done
        if done:
            self.table.console.print(f"{escape(self.name)}: continuing after step {done}")
        self.table.draw_table()

    def on_step(self, event: StepEvent) -> None:
        """Update step and loss."""
        self.step, self.loss = event.step, event.loss
        self.table.draw_table()

    def on_evaluate(self, event: EvalEvent) -> None:
        """Update the best metric. Without a terminal, print the metric."""
        name, value = next(iter(event.metrics.items()))
        if event.is_best:
            self.best = f"{name} {value:.4g} at {event.step}"
        if not self.table.console.is_terminal:
            self.table.console.print(f"{escape(self.name)}: step {event.step:>4}  validation  {name} {value:.4g}")

    def should_stop(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self.table.interrupt_handler.stop_requested


class ProgressTable:
    """A live table of all runs. The first Ctrl-C stops every run with a checkpoint, the second at once."""

    def __init__(self, console: Console, names: list[str]):
        self.console = console
        self.run_lines = {name: RunProgressLine(self, name) for name in names}
        self.live = Live(console=console, transient=True, auto_refresh=False, vertical_overflow="ellipsis")
        self.status = console.status(PREPARING_MESSAGE)
        self.activity = TaskProgress(PREPARING_MESSAGE)
        self.plain_lines = ProgressLines(console, self._describe_progress)
        self.interrupt_handler = InterruptHandler(console)
        self.last_drawn_at = 0.0

    def draw_table(self) -> None:
        """Draw the table, unless it was drawn a moment ago."""
        self.status.stop()
        if not self.live.is_started:
            self.live.start()
        self.plain_lines.print_if_due()
        if time.monotonic() - self.last_drawn_at < REDRAW_INTERVAL_S:
            return
        self.last_drawn_at = time.monotonic()
        table = Table("run", "step", "loss", "best on validation")
        for name, line in self.run_lines.items():
            loss = "–" if line.loss is None else f"{line.loss:.3f}"
            table.add_row(escape(name), f"{line.step}/{line.num_steps}", loss, line.best)
        self.live.update(table, refresh=self.console.is_terminal)

    def _describe_progress(self) -> str:
        """Return the progress of all runs as one line: total steps and mean loss."""
        lines, activity = self.run_lines.values(), self.activity
        if not (steps := sum(line.num_steps for line in lines)):
            return str(activity)
        done, losses = sum(line.step for line in lines), [line.loss for line in lines if line.loss is not None]
        if activity.total != steps:
            activity.start_phase(f"training {len(lines)} prompts, steps", steps, done)
        activity.update(done, f"mean loss {sum(losses) / len(losses):.3f}" if losses else "")
        return str(activity)

    @contextmanager
    def show_live(self) -> Iterator[ProgressTable]:
        """Draw the table and handle Ctrl-C inside a `with` block."""
        self.status.start()
        try:
            with self.plain_lines.print_periodically(), self.interrupt_handler.handle_sigint():
                yield self
        finally:
            self.status.stop()
            self.live.stop()
