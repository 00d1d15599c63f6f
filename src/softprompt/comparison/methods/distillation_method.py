"""Distillation as an adaptation method: the text of the settings becomes virtual tokens, as `softprompt distil` does.

The virtual tokens learn the probabilities of the model behind the text, for the inputs of the training examples. The
answers of the examples are removed before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from softprompt.comparison.comparison_folder import TARGETS_FOLDER
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import GENERATION_MAX_TOKENS, FittedModel, TrainingRecord
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.method_argument import parse_count
from softprompt.comparison.methods.text_before_inputs import DEFAULT_NUM_TOKENS, TextBeforeInputs
from softprompt.comparison.methods.training_recorder import EvaluationRecorder, require_best
from softprompt.data import Example
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.distill_task import DistillableTask
from softprompt.distillation.inputs import DistillInputs
from softprompt.distillation.prefix_training import DEFAULT_LEARNING_RATE, PrefixTraining, get_learning_rate
from softprompt.distillation.targeted_inputs import prepare_targets
from softprompt.errors import translate_os_errors
from softprompt.tasks import ChatTask
from softprompt.tasks.templates.template import Template
from softprompt.training import TrainerCallback
from softprompt.training.recorder import NullRecorder


class DistillationMethod(AdaptationMethod):
    """A text distilled into virtual tokens, `distil:P`."""

    kind, needs_text = MethodKind.SOFT_PROMPT, True

    def __init__(self, argument: str | None = None):
        """Parse P.

        Raises:
            SettingError: P is not a positive integer.
        """
        self.num_virtual_tokens = parse_count("distil", argument, DEFAULT_NUM_TOKENS, "the number of virtual tokens")
        self.title = f"text distilled into {self.num_virtual_tokens} virtual tokens"

    def get_default_learning_rate(self, experiment: Experiment) -> float:  # noqa: ARG002
        """Return the default learning rate of `distil`."""
        return DEFAULT_LEARNING_RATE

    def get_cache_key_settings(self, experiment: Experiment) -> Mapping[str, Any]:
        """Return the hash of the text, and the batch size."""
        return {"text": experiment.text_digest, **super().get_cache_key_settings(experiment)}

    def get_selection_key(self, experiment: Experiment, metrics: Mapping[str, float]) -> tuple[float, ...]:  # noqa: ARG002
        """Return what the text's effect is recovered by: distillation does not know which answers are right."""
        return (metrics.get("recovery", -metrics["kl"]),)

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        """Distil the text, and compile the best step, the initial prefix included.

        Raises:
            SettingError, TaskError: the text does not fit the model, or the inputs of the task cannot follow it.
            RecordError: an example of the text has no answer.
        """
        setup = self._build_setup(experiment, config)
        inputs = prepare_targets(setup, setup.inputs, _create_targets_file(experiment, setup))
        recorder = EvaluationRecorder(callback)
        training = PrefixTraining.start(setup, inputs, NullRecorder(), recorder)
        state = training.trainer.train().state
        require_best(state, get_learning_rate(setup))
        step, metrics = training.restore_best(training.trainer.outcome)
        payload = training.compile_prefix()
        return LocalFittedModel(
            training.objective.base,
            payload,
            num_trained_parameters=training.prompt.num_parameters,
            stored_bytes=4 * training.prompt().tensor.numel(),
            supports_mixed_batches=True,
            training_record=_rename_loss(recorder.build_record(state, {"step": step, **metrics})),
        )

    def _build_setup(self, experiment: Experiment, config: FitConfig) -> DistillSetup:
        overrides = {name.replace("-", "_"): value for name, value in config.overrides.items()}
        given = {"num_virtual_tokens": self.num_virtual_tokens, "learning_rate": config.learning_rate, **overrides}
        settings = experiment.settings.to_distill_settings(
            max_steps=config.steps, seed=config.seed, max_new_tokens=GENERATION_MAX_TOKENS, **given
        )
        method = f"distil:{settings.num_virtual_tokens}"
        text = TextBeforeInputs.from_experiment(experiment, method)
        text.check_num_tokens(method, int(settings.num_virtual_tokens))
        inputs = DistillInputs(_remove_answers(text.task, config.examples), experiment.validation, {})
        return DistillSetup.from_inputs(settings, text.model, text.source, text.task, inputs)


def _remove_answers(task: DistillableTask, examples: Iterable[Example]) -> list[Example]:
    """Return examples with their inputs only: the fields that the template shows, or the messages before the answer."""
    if isinstance(task, ChatTask):
        return [
            replace(example, fields={task.messages_field: task.split_last_answer(example)[0]}) for example in examples
        ]
    shown = Template(task.template).field_names
    return [
        replace(example, fields={name: example.fields[name] for name in shown if name in example.fields})
        for example in examples
    ]


def _create_targets_file(experiment: Experiment, setup: DistillSetup) -> Path:
    """Create the folder of the teacher's targets, and return the file of those for a run's inputs."""
    folder = experiment.settings.output / TARGETS_FOLDER
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    digest = setup.compute_targets_digest(setup.inputs).removeprefix("sha256:")
    return folder / f"{digest[:16]}.safetensors"


def _rename_loss(record: TrainingRecord) -> TrainingRecord:
    """Remove the loss, which is the divergence `kl`: the loss of other methods is that of the right answers."""
    evaluations = [_remove_loss(evaluation) for evaluation in record.evaluations]
    return replace(record, evaluations=evaluations, best=None if record.best is None else _remove_loss(record.best))


def _remove_loss(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "loss"}
