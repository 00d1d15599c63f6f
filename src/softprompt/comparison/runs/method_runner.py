"""Executes the runs of one method: a learning rate search on the validation set, then a measured run per seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from softprompt.comparison.experiment.compare_settings import LR_MULTIPLIERS
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.experiment.stratified_sample import draw_stratified_subset
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import FittedModel, TrainingRecord
from softprompt.comparison.runs.failure_message import describe_failure
from softprompt.comparison.runs.peak_memory import get_peak_memory_bytes, reset_peak_memory
from softprompt.comparison.runs.run_plan import RunSpec, plan_runs
from softprompt.comparison.runs.run_result import FailedRun, MeasuredRun, PilotResult, TrainingSummary, TrialResult
from softprompt.comparison.runs.run_store import RunStore
from softprompt.errors import DiskFull, SoftPromptError, TaskError, TrainingDiverged, is_out_of_memory_error
from softprompt.training import TrainerCallback
from softprompt.training.callbacks import NullCallback

SERVING_TASK_COUNTS = (1, 50)
PILOT_STEPS = 4


@runtime_checkable
class RunCallback(TrainerCallback, Protocol):
    """A trainer callback that also receives the begin and end of runs."""

    def on_run_begin(self, run_name: str) -> None:
        """Handle the beginning of a run."""

    def on_run_end(self, run_name: str) -> None:
        """Handle the end of a run, also if it was finished before."""


class NullRunCallback(NullCallback):
    """A callback that ignores everything."""

    def on_run_begin(self, run_name: str) -> None:
        """Ignore the event."""

    def on_run_end(self, run_name: str) -> None:
        """Ignore the event."""


@dataclass(frozen=True)
class MethodRunner:
    """The runs of one method.

    Attributes:
        experiment: what all methods of the comparison share.
        name: name of the method in the settings.
        method: the method.
        steps: number of steps of each training run.
        store: results of the finished runs.
        callback: receives the progress.
    """

    experiment: Experiment
    name: str
    method: AdaptationMethod
    steps: int
    store: RunStore
    callback: RunCallback

    @cached_property
    def plan(self) -> list[RunSpec]:
        """The runs of the method, in the order of execution."""
        return plan_runs(self.experiment.settings, self.name, self.method)

    def run_missing(self) -> None:
        """Execute the runs that are not finished.

        Raises:
            SoftPromptError: the method does not support the model, task or data.
        """
        trials, others = _split_trials(self.plan)
        learning_rate, fitted_model = self._search_learning_rate(trials)
        for run in others:
            is_first_seed = run.purpose == "seed" and run.seed == 0
            self._run_if_missing(run, learning_rate, fitted_model if is_first_seed else None)
            fitted_model = None if run.seed == 0 else fitted_model  # frees its memory

    def is_finished(self) -> bool:
        """Return whether all runs are finished."""
        trials, others = _split_trials(self.plan)
        results = [self.store.load_trial(run) for run in trials]
        best = _BestTrial()
        for result in results:
            if result is not None:
                self._update_best(best, result, None)
        params = {"rate": best.learning_rate}
        return None not in results and all(self.store.load_measurement(run, params) for run in others)

    def measure_step_seconds(self) -> float:
        """Measure the mean seconds per step in a short training run."""
        run = RunSpec(self.name, "pilot")
        result = self.store.load_pilot(run)
        if result is None:
            experiment = replace(self.experiment, validation=self.experiment.validation[:PILOT_STEPS])
            record = self.method.fit(
                experiment, FitConfig(self.experiment.training, steps=PILOT_STEPS), self.callback
            ).training_record
            record = self._require_record(record)
            result = PilotResult(seconds_per_step=record.seconds / PILOT_STEPS)
            self.store.save_result(run, {}, result)
        return result.seconds_per_step

    def _search_learning_rate(self, trials: Sequence[RunSpec]) -> tuple[float | None, FittedModel | None]:
        """Return the best learning rate, and its fitted model if the trial was executed now."""
        base, best = self.method.get_default_learning_rate(self.experiment), _BestTrial()
        for run in trials:
            learning_rate = base * LR_MULTIPLIERS[run.number]
            result, fitted_model = self._run_trial(run, learning_rate)
            self._update_best(best, result, fitted_model)
            del fitted_model  # only the best model stays in memory during the next trial
        if trials and best.learning_rate is None:
            raise TrainingDiverged(f"the loss was not finite at any of {len(trials)} learning rates around {base:.2g}")
        return best.learning_rate, best.fitted_model

    def _run_trial(self, run: RunSpec, learning_rate: float) -> tuple[TrialResult, FittedModel | None]:
        params = {"rate": learning_rate}
        result, fitted_model = self.store.load_trial(run, params), None
        if result is None:
            self.callback.on_run_begin(run.name)
            try:
                fitted_model = self._fit_model(run, learning_rate)
                training = _summarize_training(self._require_record(fitted_model.training_record))
                result = TrialResult(
                    learning_rate=learning_rate, **dict(training), peak_memory_bytes=self._get_peak_memory()
                )
            except TrainingDiverged as error:
                result = TrialResult(learning_rate=learning_rate, metrics=None, error=str(error))
            self.store.save_result(run, params, result)
        self.callback.on_run_end(run.name)
        return result, fitted_model

    def _run_if_missing(self, run: RunSpec, learning_rate: float | None, fitted_model: FittedModel | None) -> None:
        params = {"rate": learning_rate}
        if self.store.load_measurement(run, params) is None:
            self.callback.on_run_begin(run.name)
            self.store.save_result(run, params, self._collect_result(run, learning_rate, fitted_model))
        self.callback.on_run_end(run.name)

    def _collect_result(
        self, run: RunSpec, learning_rate: float | None, fitted_model: FittedModel | None
    ) -> MeasuredRun | FailedRun:
        """Fit and measure a model, and return the result of the run.

        If a `size` or `sweep` run fails, or a later seed diverges, the error is the result and the method continues.
        """
        try:
            fitted_model = fitted_model or self._fit_model(run, learning_rate)
            return self._measure_model(run, learning_rate, fitted_model)
        except DiskFull:
            raise
        except (SoftPromptError, MemoryError, RuntimeError) as error:
            diverged_later = isinstance(error, TrainingDiverged) and run.seed > 0
            known = isinstance(error, SoftPromptError) or is_out_of_memory_error(error)
            if not known or (run.purpose == "seed" and not diverged_later):
                raise
            return FailedRun(learning_rate=learning_rate, error=describe_failure(error))

    def _fit_model(self, run: RunSpec, learning_rate: float | None) -> FittedModel:
        examples = self.experiment.training
        if run.purpose == "size":
            examples = draw_stratified_subset(examples, run.number, run.seed, self.experiment.task)
        options = dict([run.override]) if run.override else {}
        if self.method.is_local:  # an API method does not load the base model
            reset_peak_memory(self.experiment.model.device)
        return self.method.fit(
            self.experiment, FitConfig(examples, run.seed, self.steps, learning_rate, options), self.callback
        )

    def _measure_model(self, run: RunSpec, learning_rate: float | None, fitted_model: FittedModel) -> MeasuredRun:
        """Measure a fitted model on the test set; slow measurements that do not depend on the seed use seed 0 only."""
        peak_memory_bytes = self._get_peak_memory()
        evaluation = fitted_model.evaluate(self.experiment.test)
        num_expected = min(len(self.experiment.test), fitted_model.max_examples or len(self.experiment.test))
        if len(evaluation.scores) != num_expected:
            raise TaskError(f"{self.name} returned {len(evaluation.scores)} scores for {num_expected} test examples")
        record = fitted_model.training_record
        extras = self._measure_seed_extras(run, fitted_model) if run.purpose == "seed" else {}
        return MeasuredRun(
            learning_rate=learning_rate,
            peak_memory_bytes=peak_memory_bytes,
            metrics=dict(evaluation.metrics),
            scores=tuple(evaluation.scores),
            confusion_matrix=evaluation.confusion and tuple(map(tuple, evaluation.confusion)),
            num_trained_parameters=fitted_model.num_trained_parameters,
            num_request_tokens=fitted_model.num_request_tokens,
            stored_bytes=fitted_model.stored_bytes,
            shares_base_weights=fitted_model.shares_base_weights,
            training=None if record is None else _summarize_training(record),
            **extras,
            api_usage=fitted_model.api_usage,  # last, so that it has all requests
        )

    def _measure_seed_extras(self, run: RunSpec, fitted_model: FittedModel) -> dict[str, Any]:
        """Return the fields of a `seed` run only: out-of-domain metrics, serving and forgetting."""
        experiment = self.experiment
        extras: dict[str, Any] = {}
        if experiment.out_of_domain is not None:
            extras["out_of_domain_metrics"] = fitted_model.evaluate(experiment.out_of_domain).metrics
        if run.seed == 0:
            extras["serving"] = {
                str(n): fitted_model.benchmark_serving(experiment.test, n) for n in SERVING_TASK_COUNTS
            }
            extras["reference_loss"] = fitted_model.compute_reference_loss(experiment.reference_texts)
        return extras

    def _get_peak_memory(self) -> int | None:
        """Return the peak memory since `_fit_model` began; None for a method that is not local."""
        return get_peak_memory_bytes(self.experiment.model.device) if self.method.is_local else None

    def _update_best(self, best: _BestTrial, result: TrialResult, fitted_model: FittedModel | None) -> None:
        if result.metrics is not None:
            selection_key = self.method.get_selection_key(self.experiment, result.metrics)
            best.update(selection_key, result.learning_rate, fitted_model)

    def _require_record(self, record: TrainingRecord | None) -> TrainingRecord:
        if record is None:
            raise TaskError(f"{self.name} has is_trained=True, but its fitted model has no training_record")
        return record


@dataclass
class _BestTrial:
    """The best trial so far. Only its fitted model is kept, because each may hold a model in memory."""

    selection_key: tuple[float, ...] | None = None
    learning_rate: float | None = None
    fitted_model: FittedModel | None = None

    def update(self, selection_key: tuple[float, ...], learning_rate: float, fitted_model: FittedModel | None) -> None:
        if self.selection_key is None or selection_key > self.selection_key:
            self.selection_key, self.learning_rate, self.fitted_model = selection_key, learning_rate, fitted_model


def _split_trials(plan: Sequence[RunSpec]) -> tuple[list[RunSpec], list[RunSpec]]:
    return [run for run in plan if run.purpose == "trial"], [run for run in plan if run.purpose != "trial"]


def _summarize_training(record: TrainingRecord) -> TrainingSummary:
    best = {} if record.best is None else {name: value for name, value in record.best.items() if name != "step"}
    return TrainingSummary(
        metrics=best or None,
        seconds=record.seconds,
        useful_tokens_per_second=record.useful_tokens_per_second,
        training_curve=tuple(dict(evaluation) for evaluation in record.evaluations),
    )
