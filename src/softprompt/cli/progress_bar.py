"""Progress of one run: a bar on a terminal, lines elsewhere. Shows loss, best metric, tokens per second, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from softprompt.cli.interrupt_handler import InterruptHandler
from softprompt.cli.progress_lines import ProgressLines, TaskProgress

if TYPE_CHECKING:
    from softprompt.training import EvalEvent, StepEvent

PREPARING_MESSAGE = "preparing the data and the model"


class ProgressBar:
    """A callback that draws a progress bar. The first Ctrl-C stops the run with a checkpoint, the second at once."""

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
        self.status = console.status(PREPARING_MESSAGE)
        self.activity = TaskProgress(PREPARING_MESSAGE)
        self.plain_lines = ProgressLines(console, self.activity)
        self.interrupt_handler = InterruptHandler(console)

    def on_progress(self, stage: str, completed: int, total: int) -> None:
        """Show the progress of a stage before training."""
        self.activity.on_progress(stage, completed, total)
        self.status.update(f"{stage}: {completed} of {total}")

    def on_begin(self, steps: int, done: int) -> None:
        """Start the bar."""
        self.status.stop()
        self.activity.start_phase("training", steps, done)
        self.task = self.bar.add_task("training", total=steps, completed=done, loss="–", best="", speed="–")
        if done:
            self.console.print(f"continuing after step {done}")
        self.bar.start()

    def on_step(self, event: StepEvent) -> None:
        """Advance the bar."""
        assert self.task is not None
        self.activity.update(event.step, f"loss {event.loss:.3f}")
        speed = f"{event.useful_tokens_per_second:.0f}"
        self.bar.update(self.task, completed=event.step, loss=f"{event.loss:.3f}", speed=speed)

    def on_evaluate(self, event: EvalEvent) -> None:
        """Print the metrics, and show the best metric in the bar."""
        assert self.task is not None
        name, value = next(iter(event.metrics.items()))
        metrics = "  ".join(f"{n} {v:.4g}" for n, v in event.metrics.items())
        self.console.print(f"step {event.step:>4}  validation  {metrics}{'  (best so far)' if event.is_best else ''}")
        if event.is_best:
            self.bar.update(self.task, best=f"best {name} {value:.4g}")

    def should_stop(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self.interrupt_handler.stop_requested

    @contextmanager
    def show_live(self) -> Iterator[ProgressBar]:
        """Draw the bar and handle Ctrl-C inside a `with` block."""
        self.status.start()
        try:
            with self.plain_lines.print_periodically(), self.interrupt_handler.handle_sigint():
                yield self
        finally:
            self.status.stop()
            self.bar.stop()
