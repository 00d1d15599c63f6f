"""One distillation, which is started, trained and saved in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from softprompt.atomic import atomic_write_file
from softprompt.distillation.distill_report import DistillReport
from softprompt.distillation.distill_result import DistillResult
from softprompt.distillation.distill_run_folder import DistillRunFolder
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.initial_prefix import resolve_initializer_name
from softprompt.distillation.prefix_training import PrefixTraining, get_learning_rate
from softprompt.distillation.recovery_plot import plot_recovery
from softprompt.distillation.report_builder import MeasuredPrefix, build_report
from softprompt.distillation.study_inputs import study_document
from softprompt.distillation.targeted_inputs import ProgressCallback, prepare_targets
from softprompt.distillation.teacher_quality import check_teacher
from softprompt.errors import TrainingDiverged, translate_os_errors
from softprompt.saved import SavedPrompt
from softprompt.saved.manifest import DISTILLATION_METHOD
from softprompt.training.callbacks import TrainerCallback
from softprompt.training.checkpoint import compute_run_hash
from softprompt.training.loss_plot import plot_loss
from softprompt.training.recorder import FolderRecorder
from softprompt.training.run_metadata import check_same_run, collect_run_metadata
from softprompt.training.trainer import TrainOutcome


@dataclass(frozen=True)
class DistillRun:
    """Started run.

    Attributes:
        setup: Settings, text, model, task and encoded inputs.
        run_folder: Folder of the run's own files.
        training: Training of the prefix.
    """

    setup: DistillSetup
    run_folder: DistillRunFolder
    training: PrefixTraining

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
        run_hash = _initialize_folder(setup, run_folder, resume=resume)
        encoded_inputs = study_document(setup, run_folder, on_progress) if setup.needs_study else setup.inputs
        inputs = prepare_targets(setup, encoded_inputs, run_folder.targets_file, on_progress)
        check_teacher([*inputs.train, *inputs.validation], force=force)
        training = PrefixTraining.start(setup, inputs, FolderRecorder(run_folder, run_hash), callback)
        return cls(setup, run_folder, training)

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
        step, metrics = self.training.restore_best(outcome)
        prompt = self._export(step, metrics)
        prompt.save_to(setup.settings.output, overwrite=True)
        plot_loss(self.run_folder, f"{setup.settings.output.name}: distilled on {setup.model.name}")
        if outcome.diverged:
            raise TrainingDiverged(
                f"the loss or its gradient was not a number at step {state.step + 1}; the prefix of step {step or 0} "
                f"is in {setup.settings.output}. Lower `learning_rate`"
            )
        has_validation = bool(self.training.inputs.validation)
        report = self._write_report(initial_metrics, metrics, on_progress) if has_validation else None
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
        run_folder, training = self.run_folder, self.training
        distilled = MeasuredPrefix(training.compile_prefix(), metrics)
        initial = MeasuredPrefix(training.compile_initial_prefix(), initial_metrics)
        report = build_report(self.setup, training.objective, training.inputs, initial, distilled, on_progress)
        with translate_os_errors(run_folder.report_file):
            atomic_write_file(run_folder.report_file, (report.model_dump_json(indent=2) + "\n").encode())
        plot_recovery(report, run_folder.recovery_plot_file)
        return report

    def _export(self, step: int | None, metrics: Mapping[str, float]) -> SavedPrompt:
        setup = self.setup
        with torch.no_grad():
            payload = self.training.prompt()
        return SavedPrompt.from_payload(
            setup.model,
            payload,
            setup.task,
            method=describe_method(setup),
            trained_parameters=self.training.prompt.num_parameters,
            metrics={"step": step, "validation": dict(metrics)} if metrics else {},
        )


def describe_method(setup: DistillSetup) -> dict[str, Any]:
    """Describe the distillation and its source for the manifest."""
    settings = setup.settings
    method = {"name": DISTILLATION_METHOD, "source": setup.source.describe(setup.context.num_tokens)}
    if settings.is_exact:
        return method
    return {**method, "init": resolve_initializer_name(settings.init, setup.model), "seed": settings.seed}


def _initialize_folder(setup: DistillSetup, run_folder: DistillRunFolder, *, resume: bool) -> str:
    """Write run.json, or check that it belongs to this run. Returns the hash that the run's checkpoints hold."""
    start = resolve_initializer_name(setup.settings.init, setup.model)
    metadata = collect_run_metadata(setup.settings, setup.model, setup.digests, get_learning_rate(setup), start)
    if resume:
        check_same_run(run_folder, metadata)
        return compute_run_hash(run_folder.read_metadata())
    run_folder.initialize_run(metadata)
    return compute_run_hash(metadata)
