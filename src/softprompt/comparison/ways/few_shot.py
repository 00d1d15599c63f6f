"""A few examples with their answers in front of the template: nothing is trained (Brown et al. 2020, arXiv 2005.14165).

Which examples, and in which order, decides much of what such a prompt is worth (Lu et al. 2022, arXiv 2104.08786). So
each seed draws as often as other ways try learning rates, and keeps what is best on the validation examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from softprompt.comparison.bench import Bench
from softprompt.comparison.drawing import drawn
from softprompt.comparison.local import FittedHere
from softprompt.comparison.settings import CompareSettings
from softprompt.comparison.way import Fitted, Kind, Trial, Way
from softprompt.comparison.ways.argument import number
from softprompt.data import Example, Examples
from softprompt.errors import SettingError, TaskError
from softprompt.evaluation.measuring import measure
from softprompt.model import Embeddings, Payload, Placement
from softprompt.tasks import ClassificationTask, Demonstrations, GenerationTask, Objective
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

    def uses(self, settings: CompareSettings) -> Mapping[str, Any]:
        """How often it draws."""
        return {"draws": settings.trials}

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:  # noqa: ARG002
        """Draw, measure on the validation examples, keep the best draw."""
        if self.shots > len(trial.examples):
            raise SettingError(f"few-shot:{self.shots}: there are {len(trial.examples)} examples to choose from")
        if self.shots == len(trial.examples) and bench.settings.seeds > 1:
            raise SettingError(
                f"few-shot:{self.shots}: too few examples for {bench.settings.seeds} seeds, each would show them all"
            )
        draws = bench.settings.trials
        fits = [self._drawn(bench, trial.examples, trial.seed * draws + draw) for draw in range(draws)]
        fitting = [fitted for fitted in fits if fitted is not None]
        if not fitting:
            raise SettingError(f"few-shot:{self.shots}: so many examples fill more than half the window: show fewer")
        return max(fitting, key=lambda fitted: _quality(fitted, bench.validation))

    def _drawn(self, bench: Bench, examples: Examples, stream: int) -> FittedHere | None:
        """A draw as a prompt; None where it leaves the texts too little of the window."""
        ids = self._ids(bench, drawn(examples, self.shots, stream, bench.task))
        if len(ids) > bench.model.shape.window // 2:
            return None
        payload, size = self._payload(bench, ids)
        objective = bench.task.bind(bench.model, bench.model.shape.window - payload.num_positions)
        return FittedHere(objective, payload, stored_bytes=size, mixes=True)

    def _ids(self, bench: Bench, chosen: Sequence[Example]) -> list[int]:
        """The examples with their answers, without placeholders of virtual tokens, of which there are none here."""
        task = bench.task
        if not isinstance(task, ClassificationTask | GenerationTask):
            raise TaskError(f"few-shot: the examples of a {task.kind} do not each end in an answer")
        shown = Demonstrations.of([task.demonstration(bench.model, example) for example in chosen])
        return [i for i in shown.ids if i >= 0]

    @torch.no_grad()
    def _payload(self, bench: Bench, ids: list[int]) -> tuple[Payload, int]:
        """The examples, compiled as any prompt is, and how many bytes they and the template have as text."""
        model = bench.model
        where = Placement.BEFORE if model.bos is None else Placement.AFTER_BOS
        embedded = model.embed(torch.tensor([ids], device=model.device))[0].float()
        text = str(model.tokenizer.decode(ids)) + bench.task.template
        return model.compile(Embeddings(embedded, where)), len(text.encode())


def _quality(fitted: FittedHere, validation: Examples) -> tuple[float, ...]:
    objective: Objective = fitted.objective
    rows = [objective.encode(example) for example in validation]
    return objective.quality(measure(objective, fitted.payload, rows))
