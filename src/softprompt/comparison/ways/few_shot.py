"""A few examples with their answers in front of the template: nothing is trained (Brown et al. 2020, arXiv 2005.14165).

Which examples, and in which order, decides much of what such a prompt is worth (Lu et al. 2022, arXiv 2104.08786). So
each seed draws as often as other ways try learning rates, and keeps what is best on the validation examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from softprompt.comparison.bench import Bench
from softprompt.comparison.drawing import drawn
from softprompt.comparison.local import FittedHere
from softprompt.comparison.way import Fitted, Kind, Trial, Way
from softprompt.comparison.ways.argument import number
from softprompt.data import Example, Examples
from softprompt.errors import SettingError, TaskError
from softprompt.evaluation.measuring import measure
from softprompt.model import Embeddings, Payload, Placement
from softprompt.tasks import ClassificationTask, GenerationTask, Objective
from softprompt.training import Watcher

DEFAULT_SHOTS = 8


class FewShot(Way):
    """`few-shot:K`: K examples, as many of each label as can be."""

    kind, learns = Kind.PROMPTING, False

    def __init__(self, argument: str | None = None):
        """Take K as it was typed.

        Raises:
            SettingError: it is no number above zero.
        """
        self.shots = number("few-shot", argument, DEFAULT_SHOTS, "how many examples")
        self.title = f"{self.shots} examples in the prompt"

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:  # noqa: ARG002
        """Draw, measure on the validation examples, keep the best draw."""
        if self.shots > len(trial.examples):
            raise SettingError(f"few-shot:{self.shots}: there are {len(trial.examples)} examples to choose from")
        draws = bench.settings.trials
        fits = [self._drawn(bench, trial.examples, trial.seed * draws + draw) for draw in range(draws)]
        return max(fits, key=lambda fitted: _quality(fitted, bench.validation))

    def _drawn(self, bench: Bench, examples: Examples, stream: int) -> FittedHere:
        chosen = drawn(examples, self.shots, stream, bench.task)
        payload, size = self._payload(bench, chosen)
        objective = bench.task.bind(bench.model, bench.model.shape.window - payload.num_positions)
        return FittedHere(objective, payload, stored_bytes=size, mixes=True)

    @torch.no_grad()
    def _payload(self, bench: Bench, chosen: Sequence[Example]) -> tuple[Payload, int]:
        """The examples, compiled as any prompt is, and how many bytes their text has."""
        model, task = bench.model, bench.task
        if not isinstance(task, ClassificationTask | GenerationTask):
            raise TaskError(f"few-shot: the examples of a {task.kind} do not each end in an answer")
        shown = task.demonstrations(model, list(chosen), model.shape.window // 2)
        if len(shown.answers) < self.shots:
            raise SettingError(f"few-shot:{self.shots}: {len(shown.answers)} of them fill half the window: show fewer")
        ids = torch.tensor([shown.ids], device=model.device)
        where = Placement.BEFORE if model.bos is None else Placement.AFTER_BOS
        payload = model.compile(Embeddings(model.embed(ids)[0].float(), where))
        return payload, len(str(model.tokenizer.decode(list(shown.ids))).encode())


def _quality(fitted: FittedHere, validation: Examples) -> tuple[float, ...]:
    objective: Objective = fitted.objective
    rows = [objective.encode(example) for example in validation]
    return objective.quality(measure(objective, fitted.payload, rows))
