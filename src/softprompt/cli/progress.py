"""The progress of a run, a bar on a terminal, lines elsewhere: loss, the best figure so far, tokens a second, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from softprompt.cli.interrupting import Interruption
from softprompt.cli.progress_lines import Activity, ProgressLines

if TYPE_CHECKING:
    from softprompt.training import Evaluated, Stepped

PREPARING = "preparing: the data, the model, both in tokens"


class ProgressBar:
    """A watcher that draws. The first Ctrl-C asks the run to stop with a checkpoint, the second one stops it at once."""

    def __init__(self, console: Console):
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[best]}  {task.fields[speed]} tokens/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None
        self.preparing = console.status(PREPARING)
        self.activity = Activity(PREPARING)
        self.lines = ProgressLines(console, self.activity)
        self.interruption = Interruption(console)

    def begin(self, steps: int, done: int) -> None:
        """Draw the bar."""
        self.preparing.stop()
        self.activity.begin("training", steps, done)
        self.task = self.bar.add_task("training", total=steps, completed=done, loss="–", best="", speed="–")
        if done:
            self.console.print(f"going on after step {done}")
        self.bar.start()

    def stepped(self, event: Stepped) -> None:
        """Move it."""
        assert self.task is not None
        self.activity.update(event.step, f"loss {event.loss:.3f}")
        speed = f"{event.useful_tokens_per_second:.0f}"
        self.bar.update(self.task, completed=event.step, loss=f"{event.loss:.3f}", speed=speed)

    def evaluated(self, event: Evaluated) -> None:
        """Print a line, and keep the best figure in the bar."""
        assert self.task is not None
        name, value = next(iter(event.metrics.items()))
        figures = "  ".join(f"{n} {v:.4g}" for n, v in event.metrics.items())
        self.console.print(f"step {event.step:>4}  validation  {figures}{'  (best so far)' if event.best else ''}")
        if event.best:
            self.bar.update(self.task, best=f"best {name} {value:.4g}")

    def stop_requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.interruption.requested

    @contextmanager
    def listening(self) -> Iterator[ProgressBar]:
        """Draw while the run goes on, and listen to Ctrl-C."""
        self.preparing.start()
        try:
            with self.lines.shown(), self.interruption.awaited():
                yield self
        finally:
            self.preparing.stop()
            self.bar.stop()
