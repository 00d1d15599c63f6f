"""Runs a whole comparison: every method, and the report of the finished runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from softprompt.comparison.analysis.aggregation import (
    build_pairwise_tests,
    load_first_metrics,
    load_scores,
    summarize_method,
)
from softprompt.comparison.analysis.results_builder import build_results
from softprompt.comparison.comparison_callback import ComparisonCallback, NullComparisonCallback
from softprompt.comparison.comparison_folder import LOGS_FOLDER, RUNS_FOLDER, check_output_folder
from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.methods.adaptation_method import AdaptationMethod
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.methods.reference_loss import compute_reference_loss
from softprompt.comparison.report import ComparisonResults, Report, add_recommendation, write_report
from softprompt.comparison.report.method_result import MethodEntry, MethodFailure
from softprompt.comparison.runs.method_job import MethodJob
from softprompt.comparison.runs.method_runner import MethodRunner, NullRunCallback
from softprompt.comparison.runs.run_cache_key import build_cache_key, get_data_digests
from softprompt.comparison.runs.run_plan import RunSpec, count_trainings, plan_runs
from softprompt.comparison.runs.run_store import RunStore
from softprompt.comparison.runs.subprocess_runner import run_in_subprocess
from softprompt.comparison.sweep_check import check_sweep
from softprompt.comparison.text_check import check_text
from softprompt.errors import SettingError, translate_os_errors
from softprompt.tasks import ClassificationTask
from softprompt.training.process_group import require_single_process


def compare(*, callback: ComparisonCallback | None = None, **settings: Any) -> Report:
    """Compare methods of adapting a model, write the report and return it.

    Args:
        callback: receives the progress of the comparison.
        settings: fields of `CompareSettings`; `data`, `test` and `output` are required.
    """
    return run_comparison(CompareSettings.from_dict(settings), callback)


def run_comparison(
    settings: CompareSettings, callback: ComparisonCallback | None = None, command: Sequence[str] | None = None
) -> Report:
    """Run every method of the settings, write the report and return it.

    Finished runs are in `OUTPUT/cells` and are not repeated. The failure of one method does not stop the others.

    Args:
        settings: settings of the comparison.
        callback: receives the progress of the comparison.
        command: command line, shown in the report.

    Raises:
        SettingError: unknown method, or invalid setting.
        DataError: the data cannot be read, or test examples occur in the other splits.
        OutputExists: the output folder contains something other than a comparison.
    """
    require_single_process("a comparison")
    return ComparisonRunner.prepare(settings, callback or NullComparisonCallback()).run(
        command or ["softprompt.compare"]
    )


@dataclass(frozen=True)
class ComparisonRunner:
    """A comparison of methods on one experiment.

    Attributes:
        experiment: what all methods share.
        methods: methods by their names in the settings.
        callback: receives the progress of the comparison.
    """

    experiment: Experiment
    methods: Mapping[str, AdaptationMethod]
    callback: ComparisonCallback

    @classmethod
    def prepare(cls, settings: CompareSettings, callback: ComparisonCallback) -> ComparisonRunner:
        """Create a comparison, and check everything that can be checked before the first run.

        Raises:
            SoftPromptError: see `run_comparison`.
        """
        if repeated := [name for name in settings.methods if settings.methods.count(name) > 1]:
            raise SettingError(f"`methods` contains {repeated[0]} more than once: remove the repetition")
        methods = {name: get_method(name) for name in settings.methods}
        check_sweep(settings, methods)
        check_text(settings, methods)
        check_output_folder(settings.output)
        experiment = Experiment.prepare(settings)
        experiment.validate_examples()
        return cls(experiment, methods, callback)

    @cached_property
    def plans(self) -> Mapping[str, Sequence[RunSpec]]:
        """The runs of each method, by its name."""
        return {name: plan_runs(self.experiment.settings, name, method) for name, method in self.methods.items()}

    def run(self, command: Sequence[str]) -> Report:
        """Execute the runs that are not finished, write the report and return it."""
        started, settings = time.monotonic(), self.experiment.settings
        resumed = any((settings.output / RUNS_FOLDER).glob("*.json"))
        with translate_os_errors(settings.output):
            for name in (RUNS_FOLDER, LOGS_FOLDER):  # identify the folder as a comparison before the first run
                (settings.output / name).mkdir(parents=True, exist_ok=True)
        steps, errors = self._allocate_steps()
        self.callback.on_comparison_begin(sum(map(len, self.plans.values())))
        for name, method in self.methods.items():
            self.callback.on_method_begin(name, method.title)
            error = errors.get(name) or self._run_method(name, steps[name])
            if error is not None:
                errors[name] = error
            self.callback.on_method_end(name, len(self.plans[name]), error)
        minutes = None if resumed else (time.monotonic() - started) / 60
        report = add_recommendation(self._build_results(command, steps, errors, minutes))
        write_report(report, settings.output)
        return report

    def _run_method(self, name: str, steps: int) -> str | None:
        if self._create_method_runner(name, steps).is_finished():
            return None
        error = self._run_in_subprocess(name, steps, is_pilot=False)
        if error is None and not self._create_method_runner(name, steps).is_finished():
            return "its process ended before all runs were finished"
        return error

    def _run_in_subprocess(self, name: str, steps: int, *, is_pilot: bool) -> str | None:
        settings = self.experiment.settings
        job = MethodJob(
            settings=settings,
            method=name,
            steps=steps,
            is_pilot=is_pilot,
            data_digests=get_data_digests(self.experiment),
            run_folder=settings.output / RUNS_FOLDER,
            cache_key=self._build_cache_key(name, steps),
        )
        return run_in_subprocess(
            job, settings.output / LOGS_FOLDER / f"{name.replace('/', '-')}.log", self.callback.on_event
        )

    def _allocate_steps(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return the number of steps of each method's training runs, and the errors of methods whose pilot run failed.

        All methods get `max_steps`, or with `budget_minutes` the steps that fit into the same time.
        """
        settings = self.experiment.settings
        if settings.budget_minutes is None:
            return dict.fromkeys(self.methods, settings.max_steps), {}
        trained = [name for name, method in self.methods.items() if method.is_trained]
        runs = sum(count_trainings(self.plans[name]) for name in trained)
        seconds_per_run = 60 * settings.budget_minutes / max(1, runs)
        steps, errors = dict.fromkeys(self.methods, 1), {}
        for name in trained:
            self.callback.on_method_begin(name, f"{self.methods[name].title}: timing of a step")
            error = self._run_in_subprocess(name, 0, is_pilot=True)
            if error is None:
                steps[name] = max(1, int(seconds_per_run / self._create_method_runner(name, 0).measure_step_seconds()))
            else:
                errors[name] = error
        return steps, errors

    def _create_method_runner(self, name: str, steps: int) -> MethodRunner:
        store = self._create_store(name, steps)
        return MethodRunner(self.experiment, name, self.methods[name], steps, store, NullRunCallback())

    def _create_store(self, name: str, steps: int) -> RunStore:
        return RunStore(self.experiment.settings.output / RUNS_FOLDER, self._build_cache_key(name, steps))

    def _build_cache_key(self, name: str, steps: int) -> dict[str, Any]:
        return build_cache_key(self.experiment, self.methods[name], steps)

    def _build_results(
        self, command: Sequence[str], steps: Mapping[str, int], errors: Mapping[str, str], minutes: float | None
    ) -> ComparisonResults:
        base_loss = self._measure_base_loss()
        plans, stores = self.plans, {name: self._create_store(name, steps[name]) for name in self.methods}
        finished = [name for name in self.methods if name not in errors or _has_all_seeds(plans[name], stores[name])]
        tests = build_pairwise_tests(
            {name: load_scores(plans[name], stores[name]) for name in self._select_comparable(finished)}
        )
        entries: dict[str, MethodEntry] = {}
        for name, method in self.methods.items():
            if name not in finished:
                entries[name] = MethodFailure(title=method.title, kind=method.kind, error=errors[name])
                continue
            result = summarize_method(method, plans[name], stores[name], self.experiment, base_loss, errors.get(name))
            num_steps = steps[name] if method.is_trained else 0
            entries[name] = result.model_copy(update={"steps": num_steps, "pairwise_tests": tests.get(name, {})})
        headline_metric = self._choose_headline_metric(finished, stores)
        return build_results(self.experiment, entries, headline_metric, command, minutes)

    def _select_comparable(self, finished: Sequence[str]) -> list[str]:
        """Return the methods whose scores are of one kind: an API returns no probabilities."""
        is_classification = isinstance(self.experiment.task, ClassificationTask)
        return [name for name in finished if is_classification or self.methods[name].is_local]

    def _choose_headline_metric(self, finished: Sequence[str], stores: Mapping[str, RunStore]) -> str:
        """Return the first metric of the first finished method; API methods come last, as they lack probabilities."""
        names = sorted(finished, key=lambda name: not self.methods[name].is_local)
        return next(iter(load_first_metrics(self.plans[names[0]], stores[names[0]]))) if names else "accuracy"

    def _measure_base_loss(self) -> float | None:
        return compute_reference_loss(self.experiment.model, None, self.experiment.reference_texts)


def _has_all_seeds(plan: Sequence[RunSpec], store: RunStore) -> bool:
    """Return whether the runs of all seeds are finished, regardless of train sizes and sweeps."""
    return all(store.load_measurement(run) for run in plan if run.purpose == "seed")
