"""Progress of a comparison: a bar on a terminal, lines elsewhere. The module is imported lazily, as the comparison is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape, render
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from softprompt.cli.command_flags import insert_flags
from softprompt.cli.console import stderr_console
from softprompt.cli.progress_lines import ProgressLines, TaskProgress, get_monotonic_time
from softprompt.comparison.runs.run_events import RunBeginEvent, RunEndEvent, RunEvent, TrainBeginEvent
from softprompt.training import StepEvent


class CompareProgressBar:
    """A progress bar of a comparison: finished runs, the current run, and the remaining time."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"),
            TextColumn("{task.fields[left]}"), console=stderr_console, transient=True,
            disable=not stderr_console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("preparing", total=None, now="", left="")
        self.num_runs = self.num_done = self.num_executed = self.num_done_of_method = 0
        self.run_started_at: float | None = None
        self.seconds_spent = 0.0
        self.num_steps = 1
        self.activity = TaskProgress("preparing the data and the model")
        self.plain_lines = ProgressLines(stderr_console, self._describe_progress)

    @contextmanager
    def show_live(self) -> Iterator[CompareProgressBar]:
        """Draw the bar inside a `with` block. Ctrl-C prints that finished runs are kept."""
        with self.bar, self.plain_lines.print_periodically():
            try:
                yield self
            except KeyboardInterrupt:
                stderr_console.print("stopped: finished runs are kept, and the same command continues from there")
                raise

    def on_comparison_begin(self, num_runs: int) -> None:
        """Set the number of runs."""
        self.num_runs = num_runs
        self.bar.update(self.task, total=num_runs, completed=0)

    def on_method_begin(self, name: str, title: str) -> None:  # noqa: ARG002
        """Show the title of the method."""
        self.num_done_of_method = 0
        self.bar.update(self.task, description=title, now="")

    def on_event(self, event: RunEvent) -> None:
        """Update the bar with an event of a run."""
        match event:
            case RunBeginEvent():
                self.run_started_at = get_monotonic_time()
                self.bar.update(self.task, now=escape(event.run))
            case TrainBeginEvent():
                self.num_steps = event.steps
            case StepEvent():
                share = f"step {event.step}/{self.num_steps}  loss {event.loss:.3f}"
                self.bar.update(self.task, now=share, left=self._time_left())
            case RunEndEvent():
                self._count_run()
        self.plain_lines.print_if_due()

    def _count_run(self) -> None:
        self.num_done_of_method += 1
        if self.run_started_at is not None:  # the run was executed now, not in an earlier command
            self.num_executed += 1
            self.seconds_spent += get_monotonic_time() - self.run_started_at
            self.run_started_at = None
        self.bar.update(self.task, completed=self.num_done + self.num_done_of_method, left=self._time_left())

    def on_method_end(self, name: str, num_runs: int, error: str | None) -> None:
        """Print a line about a finished or failed method."""
        self.num_done += num_runs
        self.bar.update(self.task, completed=self.num_done, left=self._time_left())
        status = "[green]done[/]  " if error is None else "[red]failed[/]"
        stderr_console.print(f"{status} {escape(name)}{'' if error is None else ': ' + escape(insert_flags(error))}")

    def _describe_progress(self) -> str:
        """Return the contents of the bar as one line."""
        if not self.num_runs:
            return str(self.activity)
        task = self.bar.tasks[0]
        done = f"{task.description}: {self.num_done + self.num_done_of_method} of {self.num_runs} runs done"
        return ", ".join(filter(None, (done, render(task.fields["now"]).plain, task.fields["left"])))

    def _time_left(self) -> str:
        """Estimate the remaining time from the mean time of the executed runs."""
        if not self.num_executed:
            return ""
        minutes = (
            self.seconds_spent / self.num_executed * (self.num_runs - self.num_done - self.num_done_of_method) / 60
        )
        return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
