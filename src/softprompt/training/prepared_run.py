"""A checked run, which is started and saved in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from softprompt.errors import TrainingDiverged
from softprompt.evaluation.evaluate import compute_hard_prompt_metrics
from softprompt.model import FrozenModel
from softprompt.training.baselines import BaselineMetrics, warn_if_not_better
from softprompt.training.callbacks import TrainerCallback
from softprompt.training.checkpoint import compute_run_hash
from softprompt.training.dataset_cache import DatasetCache
from softprompt.training.loss_plot import plot_loss
from softprompt.training.process_group import ProcessGroup, SingleProcess
from softprompt.training.prompt_export import ExportedPrompts
from softprompt.training.recorder import FolderRecorder
from softprompt.training.run_folder import RunFolder
from softprompt.training.run_metadata import check_same_run, collect_run_metadata
from softprompt.training.run_output import check_run_output
from softprompt.training.trainer import Trainer, TrainOutcome
from softprompt.training.training_setup import TrainingSetup
from softprompt.training.tune_result import TuneResult
from softprompt.training.tune_settings import TuneSettings


@dataclass(frozen=True)
class PreparedRun:
    """Checked run, of which nothing is written yet.

    Attributes:
        setup: Settings, prompt, model, task and encoded examples.
        run_folder: Folder of the run's own files.
        run_metadata: Content of run.json.
        resume: Whether the run continues from a checkpoint.
        process_group: Processes that train the run.
    """

    setup: TrainingSetup
    run_folder: RunFolder
    run_metadata: dict[str, Any]
    resume: bool
    process_group: ProcessGroup

    @classmethod
    def from_settings(
        cls,
        settings: TuneSettings,
        model: FrozenModel | None = None,
        process_group: ProcessGroup | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        dataset_cache: DatasetCache | None = None,
    ) -> PreparedRun:
        """Prepare a new run, or the continuation of a killed one. Runs with one `dataset_cache` read their data once.

        Raises:
            SoftPromptError: As for `tune_from_settings`.
        """
        run_folder = RunFolder(settings.run_folder)
        check_run_output(settings, run_folder, resume=resume, overwrite=overwrite)
        process_group, dataset_cache = process_group or SingleProcess(), dataset_cache or DatasetCache()
        data = dataset_cache.prepare_data(settings)
        model = model or process_group.load_model(settings)
        if settings.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        setup = TrainingSetup.from_settings(settings, model, data, dataset_cache)
        return cls(
            setup,
            run_folder,
            collect_run_metadata(settings, model, data.digests, setup.peak_learning_rate, setup.init_description),
            resume,
            process_group,
        )

    def start_training(self, callback: TrainerCallback) -> Trainer:
        """Write run.json, load the checkpoint if there is one, and run the evaluation before the first step.

        Raises:
            CheckpointError: If a resumed run began with other settings or data.
            DiskFull: If the disk is full.
        """
        self.process_group.wait_for_everyone()  # until all processes have checked that the folder is free
        if self.process_group.is_main_process:
            self._initialize_run_folder()
        recorder = FolderRecorder(self.run_folder, self._compute_run_hash())
        trainer = self.setup.create_trainer(recorder, callback, self.process_group)
        trainer.evaluate_before_training()
        return trainer

    def _initialize_run_folder(self) -> None:
        if self.resume:
            check_same_run(self.run_folder, self.run_metadata)
        else:
            self.run_folder.initialize_run(self.run_metadata)

    def _compute_run_hash(self) -> str:
        """Compute the hash that the run's checkpoints hold. A resumed run hashes its run.json as it is.

        Earlier versions had fewer settings and other names for some of them, which the hash of a new run.json would not
        reproduce.
        """
        return compute_run_hash(self.run_folder.read_metadata() if self.resume else self.run_metadata)

    def save_result(self, outcome: TrainOutcome) -> TuneResult:
        """Save the prompt of a run that has ended, and plot its loss.

        Raises:
            TrainingDiverged: If the loss was not a number; the best prompt before that was saved.
        """
        settings, setup = self.setup.settings, self.setup
        exported = ExportedPrompts.from_outcome(outcome, setup)
        baselines = BaselineMetrics() if exported.prompt is None else _evaluate_baselines(outcome, setup)
        if self.process_group.is_main_process:
            exported.save_to(settings.output)
            title = f"{settings.output.name}: {settings.method} on {setup.model.name}"
            plot_loss(self.run_folder, title, baselines.hard_prompt)
            warn_if_not_better(
                str(settings.output), outcome.state.best, baselines, setup.objective, setup.peak_learning_rate
            )
        self.process_group.wait_for_everyone()
        if outcome.diverged:
            raise _build_divergence_error(outcome, setup, exported)
        return TuneResult.from_outcome(outcome, setup, exported, baselines)


def _evaluate_baselines(outcome: TrainOutcome, setup: TrainingSetup) -> BaselineMetrics:
    hard_prompt = (
        compute_hard_prompt_metrics(setup.model, setup.task, setup.validation_examples)
        if setup.validation_dataset
        else None
    )
    return BaselineMetrics(outcome.state.initial_metrics, hard_prompt)


def _build_divergence_error(outcome: TrainOutcome, setup: TrainingSetup, exported: ExportedPrompts) -> TrainingDiverged:
    step, best = min(outcome.state.step, setup.settings.max_steps - 1), outcome.state.best
    saved = (
        f"the best prompt so far (step {best.step}) is in {setup.settings.output}"
        if exported.prompt and best
        else "no prompt was saved"
    )
    where = f"at step {step + 1}, learning rate {setup.create_optimizer().get_learning_rate(step):.2g}"
    return TrainingDiverged(
        f"the loss or its gradient was not a number {where}; {saved}. "
        f"Try `learning_rate={setup.peak_learning_rate / 4:.2g}`"
    )
