"""A run, ready to train: a prompt in front of a model, a task, and its examples in tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from softprompt.data import Examples
from softprompt.model import FrozenModel
from softprompt.parameters import renamed_parameters
from softprompt.prompts import METHODS, SoftPrompt, build_prompt
from softprompt.tasks import Objective, Row, Task
from softprompt.training.gradients import PromptLearner
from softprompt.training.loop import Training
from softprompt.training.mixture import Mixture
from softprompt.training.optimisation import Optimiser
from softprompt.training.preparation import bind, placed, remembering
from softprompt.training.processes import Alone
from softprompt.training.record import Record
from softprompt.training.rows import EncodedRows
from softprompt.training.settings import TuneSettings
from softprompt.training.shared_data import SharedData
from softprompt.training.watching import Watcher

logger = logging.getLogger(__name__)

#: Where a run's settings have other names than the options of its prompt.
OWN_NAMES = {"num_virtual_tokens": "virtual_tokens", "tasks": "task_field"}


@dataclass(frozen=True)
class Job:
    """Everything that follows from a run's settings, its model and its examples.

    Attributes:
        model: the frozen model.
        task: complete with its labels.
        prompt: what trains.
        start: in words, what its virtual tokens start from.
        objective: the task on the model, with the room that the prompt leaves.
        rows: what it learns from.
        validation: what the best step is chosen by.
        held_out: the examples of `validation`.
        peak: the learning rate at the end of the warm-up.
    """

    model: FrozenModel
    task: Task
    prompt: SoftPrompt
    start: str
    objective: Objective
    rows: EncodedRows
    validation: Sequence[Row]
    held_out: Examples
    peak: float

    @classmethod
    @renamed_parameters(OWN_NAMES)
    def of(
        cls,
        settings: TuneSettings,
        model: FrozenModel,
        task: Task,
        examples: Examples,
        held_out: Examples,
        mixture: Mixture | None = None,
        shared: SharedData | None = None,
    ) -> Job:
        """The run that the settings describe, on examples to learn from and others to choose the best step by.

        What is `shared` is not put in tokens again.

        Raises:
            SoftPromptError: settings, task, model and examples do not go together.
        """
        options = replace(placed(settings, task), tasks=() if mixture is None else mixture.tasks)
        shared = shared or SharedData()
        first = shared.find_opening(settings, options, task, model, examples)
        prompt, start = build_prompt(options, model, first, task.labels)
        if settings.layers is not None:
            model = remembering(model)
        objective = bind(task, model, prompt)
        rows = shared.encode_training(objective, examples, mixture)
        validation = shared.encode_validation(objective, held_out, mixture)
        peak = settings.learning_rate or METHODS[settings.method].default_rate(model, settings.layers)
        logger.info("%s starts from %s", settings.method, start)
        logger.info(
            "%d numbers train beside %d frozen ones; learning rate %.2g",
            prompt.num_parameters,
            model.num_parameters,
            peak,
        )
        return cls(model, task, prompt, start, objective, rows, validation, held_out, peak)

    def training(self, settings: TuneSettings, record: Record, watcher: Watcher, processes: Alone) -> Training:
        """The prompt's training, from what the record kept or the beginning."""
        return Training(
            self.objective,
            processes.learner(PromptLearner(self.prompt)),
            self.rows,
            self.validation,
            settings,
            self.optimiser(settings),
            processes.record(record),
            processes.watcher(watcher),
        )

    def optimiser(self, settings: TuneSettings) -> Optimiser:
        """A new one for the prompt, as the settings say."""
        return Optimiser.of(settings, PromptLearner(self.prompt), self.peak)
