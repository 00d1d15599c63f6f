"""The template alone: nothing is trained."""

from __future__ import annotations

from softprompt.comparison.bench import Bench
from softprompt.comparison.local import FittedHere
from softprompt.comparison.way import Fitted, Kind, Trial, Way
from softprompt.comparison.ways.argument import nothing
from softprompt.training import Watcher


class HardPrompt(Way):
    """The template as it is."""

    title, kind, learns, repeats = "hard prompt", Kind.PROMPTING, False, False

    def __init__(self, argument: str | None = None):
        nothing("hard", argument)

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:  # noqa: ARG002
        """There is nothing to do.

        Raises:
            TaskError: the task is read by a trained head, so that a prompt alone has no answer.
        """
        objective = bench.task.bind(bench.model, bench.model.shape.window)
        return FittedHere(objective, stored_bytes=len(bench.task.template.encode()), mixes=True)
