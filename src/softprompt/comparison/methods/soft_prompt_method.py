"""Soft prompts as adaptation methods, trained like `softprompt tune`."""

from __future__ import annotations

from functools import partial

import torch

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import FittedModel
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.training_recorder import train_and_record
from softprompt.prompts import TUNING_METHODS
from softprompt.training import TrainerCallback, TuneSettings
from softprompt.training.dataset_cache import TrainingData
from softprompt.training.process_group import SingleProcess
from softprompt.training.recorder import NullRecorder
from softprompt.training.training_setup import TrainingSetup


class SoftPromptMethod(AdaptationMethod):
    """A tuning method of `softprompt.prompts`, with an optional encoder after the colon: `prefix:mlp`."""

    kind = MethodKind.SOFT_PROMPT

    def __init__(self, method: str, argument: str | None = None):
        """Create the method with an encoder.

        Raises:
            SettingError: the method does not have the encoder.
        """
        self.method = method
        self.encoder = argument
        if argument:
            TUNING_METHODS[method].get_builder(argument)
        self.title = METHOD_TITLES[method] + (f", {argument.upper()} encoder" if argument else "")

    def get_default_learning_rate(self, experiment: Experiment) -> float:
        """Return the default learning rate of the tuning method."""
        return TUNING_METHODS[self.method].get_default_learning_rate(experiment.model)

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        """Train a soft prompt, and compile the best step."""
        settings = self.build_tune_settings(experiment, config)
        data = TrainingData(experiment.task, config.examples, experiment.validation)
        job = TrainingSetup.from_settings(settings, experiment.model, data)
        record, best = train_and_record(
            lambda listener: job.create_trainer(NullRecorder(), listener, SingleProcess()).train(),
            callback,
            job.peak_learning_rate,
        )
        job.prompt.load_state_dict(best)
        with torch.no_grad():
            payload = job.prompt()
            compiled = experiment.model.compile_payload(payload)
        head = 0 if job.prompt.head is None else sum(p.numel() for p in job.prompt.head.parameters())
        return LocalFittedModel(
            job.objective,
            compiled,
            num_trained_parameters=job.prompt.num_parameters,
            stored_bytes=4 * (payload.tensor.numel() + head),
            supports_mixed_batches=head == 0,
            training_record=record,
        )

    def build_tune_settings(self, experiment: Experiment, config: FitConfig) -> TuneSettings:
        """Return the settings of `tune` for a fit."""
        options = {name.replace("-", "_"): value for name, value in config.overrides.items()}
        given = {"method": self.method, "encoder": self.encoder, "learning_rate": config.learning_rate, **options}
        return experiment.settings.to_tune_settings(max_steps=config.steps, seed=config.seed, **given)


METHOD_TITLES = {
    "prompt": "prompt tuning",
    "residual": "prompt tuning, residual",
    "p-tuning": "P-tuning v1",
    "context": "context-aware prompt tuning",
    "prefix": "prefix tuning",
    "p-tuning-v2": "P-tuning v2",
}

#: Every tuning method for a single task.
SOFT_PROMPT_METHODS = {
    name: partial(SoftPromptMethod, name) for name, method in TUNING_METHODS.items() if not method.is_multitask
}
