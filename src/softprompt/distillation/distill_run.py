"""One distillation, which is started, trained and saved in its folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softprompt.atomic import atomic_write_file
from softprompt.distillation.distill_report import DistillReport
from softprompt.distillation.distill_result import DistillResult
from softprompt.distillation.distill_run_folder import DistillRunFolder
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.distilled_prefix import DistilledPrefix
from softprompt.distillation.initial_prefix import PrefixInitContext, resolve_initializer_name, select_initializer
from softprompt.distillation.recovery_plot import plot_recovery
from softprompt.distillation.reference_objective import DistillationObjectives, build_distillation_objective
from softprompt.distillation.report_builder import MeasuredPrefix, build_report
from softprompt.distillation.study_inputs import study_document
from softprompt.distillation.targeted_inputs import ProgressCallback, TargetedInputs, prepare_targets
from softprompt.distillation.teacher_quality import check_teacher
from softprompt.errors import TrainingDiverged, translate_os_errors
from softprompt.model import KVPrefix
from softprompt.prompts.spread_cache import get_kv_spread
from softprompt.saved import SavedPrompt
from softprompt.saved.manifest import DISTILLATION_METHOD
from softprompt.training.callbacks import TrainerCallback
from softprompt.training.checkpoint import compute_run_hash
from softprompt.training.loss_plot import plot_loss
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.prompt_trainable import PromptTrainable
from softprompt.training.recorder import FolderRecorder
from softprompt.training.run_metadata import check_same_run, collect_run_metadata
from softprompt.training.trainer import Trainer, TrainOutcome

logger = logging.getLogger(__name__)

DEFAULT_LEARNING_RATE = 0.01  # in units of the spread of keys and values over tokens


@dataclass(frozen=True)
class DistillRun:
    """Started run.

    Attributes:
        setup: Settings, text, model, task and encoded inputs.
        run_folder: Folder of the run's own files.
        prompt: Prefix to train.
        initial_parameters: Parameters of the prefix before the first step.
        inputs: Inputs with the teacher's targets.
        objective: Divergence from the teacher.
        trainer: Trainer of the prefix.
    """

    setup: DistillSetup
    run_folder: DistillRunFolder
    prompt: DistilledPrefix
    initial_parameters: Mapping[str, Tensor]
    inputs: TargetedInputs
    objective: DistillationObjectives
    trainer: Trainer

    @classmethod
    def start(
        cls,
        setup: DistillSetup,
        run_folder: DistillRunFolder,
        callback: TrainerCallback,
        on_progress: ProgressCallback | None = None,
        *,
        resume: bool = False,
        force: bool = False,
    ) -> DistillRun:
        """Write run.json, ask the teacher, load the checkpoint if there is one, and evaluate the initial prefix.

        Raises:
            SettingError: If the teacher is at chance, unless `force` is set.
            CheckpointError: If a resumed run began with other settings or data.
            DiskFull: If the disk is full.
        """
        settings, model = setup.settings, setup.model
        learning_rate = settings.learning_rate or DEFAULT_LEARNING_RATE
        run_hash = _initialize_folder(setup, run_folder, learning_rate, resume=resume)
        encoded_inputs = study_document(setup, run_folder, on_progress) if setup.needs_study else setup.inputs
        inputs = prepare_targets(setup, encoded_inputs, run_folder, on_progress)
        check_teacher([*inputs.train, *inputs.validation], force=force)
        initialize = select_initializer(settings.init, model)
        initial_value = initialize(
            PrefixInitContext(model, setup.context, inputs.train, int(settings.num_virtual_tokens), settings.seed)
        )
        logger.info("the prefix starts from %s", initial_value.description)
        prompt = DistilledPrefix(initial_value, get_kv_spread(model), setup.context.prefix.placement).to(model.device)
        initial_parameters = {name: tensor.clone() for name, tensor in prompt.state_dict().items()}
        objective = build_distillation_objective(setup, inputs)
        trainable = PromptTrainable(prompt)
        optimizer = ScheduledOptimizer.from_settings(settings, trainable, learning_rate)
        recorder = FolderRecorder(run_folder, run_hash)
        trainer = Trainer(objective, trainable, inputs, inputs.validation, settings, optimizer, recorder, callback)
        trainer.evaluate_before_training()
        return cls(setup, run_folder, prompt, initial_parameters, inputs, objective, trainer)

    def save_result(self, outcome: TrainOutcome, on_progress: ProgressCallback | None = None) -> DistillResult:
        """Save the prefix of a run that has ended, plot its loss, and write its report.

        The initial prefix is kept if no step is better.

        Args:
            outcome: Outcome of the training.
            on_progress: Called with the stage, the number of measured alternatives and their total number.

        Raises:
            TrainingDiverged: If the loss was not a number; the best prefix before that was saved.
        """
        setup, state = self.setup, outcome.state
        initial_metrics = state.initial_metrics or {}
        if outcome.stopped:
            return DistillResult(None, setup.settings.output, setup.context.num_tokens, state.step, state.train_seconds)
        step, metrics = self._restore_best(outcome)
        prompt = self._export(step, metrics)
        prompt.save_to(setup.settings.output, overwrite=True)
        plot_loss(self.run_folder, f"{setup.settings.output.name}: distilled on {setup.model.name}")
        if outcome.diverged:
            raise TrainingDiverged(
                f"the loss or its gradient was not a number at step {state.step + 1}; the prefix of step {step or 0} "
                f"is in {setup.settings.output}. Lower `learning_rate`"
            )
        report = self._write_report(initial_metrics, metrics, on_progress) if self.inputs.validation else None
        return DistillResult(
            prompt,
            setup.settings.output,
            setup.context.num_tokens,
            state.step,
            state.train_seconds,
            step,
            metrics,
            initial_metrics,
            report,
        )

    @torch.no_grad()
    def _write_report(
        self,
        initial_metrics: Mapping[str, float],
        metrics: Mapping[str, float],
        on_progress: ProgressCallback | None,
    ) -> DistillReport:
        """Measure the prefix beside its alternatives, and keep the report in the run folder."""
        setup, run_folder = self.setup, self.run_folder
        distilled = MeasuredPrefix(self._compile_prefix(), metrics)
        parameters = {name: tensor.clone() for name, tensor in self.prompt.state_dict().items()}
        self.prompt.load_state_dict(self.initial_parameters)
        initial = MeasuredPrefix(self._compile_prefix(), initial_metrics)
        self.prompt.load_state_dict(parameters)
        report = build_report(setup, self.objective, self.inputs, initial, distilled, on_progress)
        with translate_os_errors(run_folder.report_file):
            atomic_write_file(run_folder.report_file, (report.model_dump_json(indent=2) + "\n").encode())
        plot_recovery(report, run_folder.recovery_plot_file)
        return report

    def _compile_prefix(self) -> KVPrefix:
        prefix = self.setup.model.compile_payload(self.prompt())
        assert isinstance(prefix, KVPrefix)
        return prefix

    def _restore_best(self, outcome: TrainOutcome) -> tuple[int | None, Mapping[str, float]]:
        """Restore the best prefix, the initial one included, and return its step and metrics."""
        best, initial_metrics = outcome.state.best, outcome.state.initial_metrics or {}
        key = self.objective.selection_key
        if best is not None and (not initial_metrics or key(best.metrics) > key(initial_metrics)):
            self.prompt.load_state_dict(best.parameters)
            return best.step, best.metrics
        if not initial_metrics and not outcome.diverged:  # no validation inputs: the last step
            return None, {}
        self.prompt.load_state_dict(self.initial_parameters)
        if outcome.state.step:
            logger.warning("no step is better than the initial prefix, which is kept: try another `learning_rate`")
        return 0, initial_metrics

    def _export(self, step: int | None, metrics: Mapping[str, float]) -> SavedPrompt:
        setup = self.setup
        with torch.no_grad():
            payload = self.prompt()
        return SavedPrompt.from_payload(
            setup.model,
            payload,
            setup.task,
            method=describe_method(setup),
            trained_parameters=self.prompt.num_parameters,
            metrics={"step": step, "validation": dict(metrics)} if metrics else {},
        )


def describe_method(setup: DistillSetup) -> dict[str, Any]:
    """Describe the distillation and its source for the manifest."""
    settings = setup.settings
    method = {"name": DISTILLATION_METHOD, "source": setup.source.describe(setup.context.num_tokens)}
    if settings.is_exact:
        return method
    return {**method, "init": resolve_initializer_name(settings.init, setup.model), "seed": settings.seed}


def _initialize_folder(setup: DistillSetup, run_folder: DistillRunFolder, learning_rate: float, *, resume: bool) -> str:
    """Write run.json, or check that it belongs to this run. Returns the hash that the run's checkpoints hold."""
    start = resolve_initializer_name(setup.settings.init, setup.model)
    metadata = collect_run_metadata(setup.settings, setup.model, setup.digests, learning_rate, start)
    if resume:
        check_same_run(run_folder, metadata)
        return compute_run_hash(run_folder.read_metadata())
    run_folder.initialize_run(metadata)
    return compute_run_hash(metadata)
