"""The callbacks of a run on the command line: the progress bar, and a tracker if one was requested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from softprompt.cli.console import is_main_process, stderr_console

if TYPE_CHECKING:
    from softprompt.cli.progress_bar import ProgressBar
    from softprompt.training.callbacks import CallbackList, TrainerCallback
    from softprompt.training.run_settings import RunSettings


@contextmanager
def open_run_callbacks(settings: RunSettings, report_to: str | None) -> Iterator[tuple[CallbackList, ProgressBar]]:
    """Show a progress bar inside a `with` block, and log to a tracker from the main process.

    Args:
        settings: settings of the run.
        report_to: name of the tracker; None for none.

    Yields:
        All callbacks of the run, and the progress bar among them.
    """
    from softprompt.cli.progress_bar import ProgressBar
    from softprompt.training.callbacks import CallbackList
    from softprompt.training.tracker_callback import TrackerCallback

    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBar(stderr_console).show_live())
        callbacks: list[TrainerCallback] = [bar]
        if report_to and is_main_process:
            callbacks.append(stack.enter_context(TrackerCallback.open_tracker(report_to, settings)))
        yield CallbackList(callbacks), bar
