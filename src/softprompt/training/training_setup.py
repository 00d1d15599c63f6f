"""Setup of a run: its settings, a prompt in front of a model, a task, and its encoded examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from softprompt.data import ExampleDataset
from softprompt.message_parameters import rename_parameters_in_errors
from softprompt.model import FrozenModel
from softprompt.prompts import TUNING_METHODS, SoftPrompt, build_prompt
from softprompt.tasks import EncodedExample, Objective, Task
from softprompt.training.callbacks import TrainerCallback
from softprompt.training.dataset_cache import DatasetCache, TrainingData
from softprompt.training.encoded_dataset import EncodedDataset
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.process_group import ProcessGroup
from softprompt.training.prompt_setup import (
    adopt_system_message,
    bind_task,
    resolve_prompt_options,
    with_hidden_state_cache,
)
from softprompt.training.prompt_trainable import PromptTrainable
from softprompt.training.recorder import RunRecorder
from softprompt.training.trainer import Trainer
from softprompt.training.tune_settings import TuneSettings

logger = logging.getLogger(__name__)

#: Setting by prompt option, where their names differ; for the messages of errors.
OPTION_TO_SETTING = {"tasks": "task_field"}


@dataclass(frozen=True)
class TrainingSetup:
    """Setup of a run, as its settings, its model and its examples define it.

    Attributes:
        settings: Settings of the run.
        model: Frozen base model.
        task: Task, complete with its labels.
        prompt: Soft prompt to train.
        init_description: Description of what the virtual tokens start from.
        objective: Objective of the task on the model, with the length that the prompt leaves.
        train_dataset: Encoded training examples.
        validation_dataset: Encoded validation examples.
        validation_examples: Validation examples before encoding.
        peak_learning_rate: Learning rate at the end of the warm-up.
    """

    settings: TuneSettings
    model: FrozenModel
    task: Task
    prompt: SoftPrompt
    init_description: str
    objective: Objective
    train_dataset: EncodedDataset
    validation_dataset: Sequence[EncodedExample]
    validation_examples: ExampleDataset
    peak_learning_rate: float

    @classmethod
    @rename_parameters_in_errors(OPTION_TO_SETTING)
    def from_settings(
        cls,
        settings: TuneSettings,
        model: FrozenModel,
        data: TrainingData,
        dataset_cache: DatasetCache | None = None,
    ) -> TrainingSetup:
        """Build the setup that settings describe.

        Args:
            settings: Settings of the run.
            model: Base model.
            data: Task and examples.
            dataset_cache: Cache of encoded datasets, shared between runs.

        Raises:
            SoftPromptError: If settings, task, model and examples are incompatible.
        """
        mixture, dataset_cache = data.mixture, dataset_cache or DatasetCache()
        options = resolve_prompt_options(settings, data.task)
        options = replace(options, tasks=() if mixture is None else mixture.task_names)
        task = adopt_system_message(data.task, options.init)
        init_source = dataset_cache.get_init_source(settings, options, task, model, data.train_examples)
        prompt, init_description = build_prompt(options, model, init_source, task.labels)
        if settings.layers is not None:
            model = with_hidden_state_cache(model)
        objective = bind_task(task, model, prompt)
        train_dataset = dataset_cache.encode_training(objective, data.train_examples, mixture)
        validation_dataset = dataset_cache.encode_validation(objective, data.validation_examples, mixture)
        peak_learning_rate = settings.learning_rate or TUNING_METHODS[settings.method].get_default_learning_rate(
            model, settings.layers
        )
        logger.info("%s starts from %s", settings.method, init_description)
        logger.info(
            "%d trainable parameters, %d frozen ones; learning rate %.2g",
            prompt.num_parameters,
            model.num_parameters,
            peak_learning_rate,
        )
        return cls(
            settings,
            model,
            task,
            prompt,
            init_description,
            objective,
            train_dataset,
            validation_dataset,
            data.validation_examples,
            peak_learning_rate,
        )

    def create_trainer(self, recorder: RunRecorder, callback: TrainerCallback, process_group: ProcessGroup) -> Trainer:
        """Create the trainer, which starts from the recorder's checkpoint or the beginning."""
        return Trainer(
            self.objective,
            process_group.wrap_trainable(PromptTrainable(self.prompt)),
            self.train_dataset,
            self.validation_dataset,
            self.settings,
            self.create_optimizer(),
            process_group.wrap_recorder(recorder),
            process_group.wrap_callback(callback),
        )

    def create_optimizer(self) -> ScheduledOptimizer:
        """Create the prompt's optimizer, as the settings describe it."""
        return ScheduledOptimizer.from_settings(self.settings, PromptTrainable(self.prompt), self.peak_learning_rate)
