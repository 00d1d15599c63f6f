"""The runs of a method: learning rates by validation, the test set once per seed, no run twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import AdaptationMethod, EvalResult, Experiment, FitConfig, FittedModel, MethodKind
from softprompt.comparison.analysis.aggregation import load_scores, summarize_method
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.runs.method_runner import MethodRunner, NullRunCallback
from softprompt.comparison.runs.run_plan import RunSpec, plan_runs
from softprompt.comparison.runs.run_result import FailedRun, TrialResult
from softprompt.comparison.runs.run_store import RunStore
from softprompt.data import Example
from softprompt.errors import TrainingDiverged
from softprompt.training import TrainerCallback
from tests.comparison.conftest import Settings


class RecordingCallback(NullRunCallback):
    def __init__(self) -> None:
        self.finished_runs: list[str] = []
        self.trained = 0

    def on_begin(self, steps: int, done: int) -> None:
        self.trained += 1

    def on_run_end(self, run_name: str) -> None:
        self.finished_runs.append(run_name)


def run_of(experiment: Experiment, name: str, folder: Path, method: AdaptationMethod | None = None) -> MethodRunner:
    return MethodRunner(
        experiment, name, method or get_method(name), 3, RunStore(folder, {"steps": 3}), RecordingCallback()
    )


def test_a_method_executes_all_planned_runs(settings: Settings, tmp_path: Path) -> None:
    experiment = Experiment.prepare(settings(train_sizes=(4,), sweep={"virtual-tokens": ("1", "3")}))
    run = run_of(experiment, "prefix", tmp_path)
    assert not run.is_finished()
    run.run_missing()
    assert run.is_finished()
    plan = plan_runs(experiment.settings, "prefix", run.method)
    assert run.callback.finished_runs == [spec.name for spec in plan]
    assert len(plan) == 2 + 2 + 2 + 4
    assert run.callback.trained == 2 + 1 + 2 + 4  # seed 0 continued the best trial
    trials = [run.store.load_trial(spec) for spec in plan if spec.purpose == "trial"]
    found = {spec.name: run.store.load_measurement(spec) for spec in plan if spec.purpose != "trial"}
    best = max(trials, key=lambda trial: (trial.metrics["accuracy"], -trial.metrics["loss"]))
    assert {result.learning_rate for result in found.values()} == {best.learning_rate}
    assert found["prefix/seed/0/0"].training.metrics == best.metrics
    parameters = found["prefix/seed/0/0"].num_trained_parameters
    assert found["prefix/sweep/virtual-tokens/3/0/0"].num_trained_parameters == 3 * parameters / 32
    first, second = found["prefix/seed/0/0"], found["prefix/seed/0/1"]
    assert len(first.scores) == len(second.scores) == 16
    assert sum(first.scores) / 16 == first.metrics["accuracy"]
    assert sum(map(sum, first.confusion_matrix)) == 16
    assert set(first.serving) == {"1", "50"}
    assert "serving" not in second.model_fields_set
    assert first.peak_memory_bytes > 1e7


def test_finished_runs_are_not_repeated(experiment: Experiment, tmp_path: Path) -> None:
    run_of(experiment, "lora", tmp_path).run_missing()
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    again = run_of(experiment, "lora", tmp_path)
    again.run_missing()
    assert again.callback.trained == 0
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files
    lost = next(file for file in files if "seed-0-1" in file.name)
    lost.unlink()
    third = run_of(experiment, "lora", tmp_path)
    assert not third.is_finished()
    third.run_missing()
    assert third.callback.trained == 1
    assert _load_scores_and_metrics(lost.read_bytes()) == _load_scores_and_metrics(
        files[lost]
    )  # repeated with the same result


def _load_scores_and_metrics(content: bytes) -> Any:
    import json

    found = json.loads(content)["found"]
    return found["scores"], found["metrics"]


def test_a_method_that_resumes_after_its_trials_has_the_same_results(experiment: Experiment, tmp_path: Path) -> None:
    run_of(experiment, "prefix", tmp_path / "whole").run_missing()
    part = run_of(experiment, "prefix", tmp_path / "part")
    part._search_learning_rate(
        [spec for spec in plan_runs(experiment.settings, "prefix", part.method) if spec.purpose == "trial"]
    )
    run_of(experiment, "prefix", tmp_path / "part").run_missing()  # the model of the best trial is fitted again
    for file in (tmp_path / "whole").iterdir():
        if "seed" in file.name:
            assert _load_scores_and_metrics(file.read_bytes()) == _load_scores_and_metrics(
                (tmp_path / "part" / file.name).read_bytes()
            )


class Wild(AdaptationMethod):
    """Method that diverges at learning rates above its default."""

    title, kind = "wild", MethodKind.WEIGHTS

    def __init__(self, safe: float = 1e-3):
        self.safe = safe

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        if config.learning_rate > self.safe:
            raise TrainingDiverged("the loss was not a number")
        return get_method("lora").fit(experiment, replace(config, learning_rate=1e-3), callback)


def test_a_diverging_learning_rate_is_not_selected(experiment: Experiment, tmp_path: Path) -> None:
    run = run_of(experiment, "wild", tmp_path, Wild())
    run.run_missing()
    assert run.store.load_trial(RunSpec("wild", "trial", number=1)) == TrialResult(
        learning_rate=3e-3, metrics=None, error="the loss was not a number"
    )
    assert run.store.load_measurement(RunSpec("wild", "seed")).learning_rate == 1e-3
    with pytest.raises(TrainingDiverged, match="at any of 2 learning rates around 0.001"):
        run_of(experiment, "wilder", tmp_path, Wild(safe=0.0)).run_missing()


def test_results_of_the_other_seeds_survive_a_seed_that_diverges(settings: Settings, tmp_path: Path) -> None:
    class WildLater(Wild):
        def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
            if config.seed == 1:
                raise TrainingDiverged("the loss was not a number")
            return get_method("lora").fit(experiment, config, callback)

    experiment = Experiment.prepare(settings(trials=1, seeds=3))
    run = run_of(experiment, "wild", tmp_path, WildLater())
    run.run_missing()
    assert run.is_finished()
    plan = plan_runs(experiment.settings, "wild", run.method)
    assert len(load_scores(plan, run.store)) == 2
    summary = summarize_method(run.method, plan, run.store, experiment, None)
    assert len(summary.metrics["accuracy"].values) == 2
    assert summary.skipped_runs == {"wild/seed/0/1": "the loss was not a number"}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), RuntimeError("a fault of ours")])
def test_a_train_size_that_runs_out_of_memory_is_recorded_as_failed(
    error: Exception, settings: Settings, tmp_path: Path
) -> None:
    class Large(Wild):
        def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
            if len(config.examples) == 8:
                raise error
            return get_method("lora").fit(experiment, config, callback)

    run = run_of(Experiment.prepare(settings(trials=1, seeds=1, train_sizes=(8,))), "large", tmp_path, Large())
    if "fault" in str(error):
        with pytest.raises(RuntimeError, match="a fault of ours"):
            run.run_missing()
        return
    run.run_missing()
    found = run.store.load_measurement(RunSpec("large", "size", number=8))
    assert isinstance(found, FailedRun)
    assert found.error.startswith("ran out of memory")


class FirstTwo(Wild):
    """Method that is evaluated on two examples, as an API is on fifty."""

    is_trained = is_stochastic = False

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        return Some(experiment)


def test_a_method_may_be_measured_on_a_part_of_the_test_set(experiment: Experiment, tmp_path: Path) -> None:
    run = run_of(experiment, "some", tmp_path, FirstTwo())
    run.run_missing()
    assert run.store.load_measurement(RunSpec("some", "seed")).scores == (0.0, 1.0)


class Constant(AdaptationMethod):
    """Custom method of twenty lines that always predicts the first label."""

    title, kind, is_trained, is_stochastic = "always the first", MethodKind.PROMPTING, False, False

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        return First(experiment)


class First(FittedModel):
    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.measured_on: list[int] = []

    def evaluate(self, examples: Sequence[Example]) -> EvalResult:
        self.measured_on.append(len(examples))
        right = [float(self.experiment.task.get_label_index(example) == 0) for example in examples]
        return EvalResult({"accuracy": sum(right) / len(right)}, right)


class Some(First):
    max_examples = 2

    def evaluate(self, examples: Sequence[Example]) -> EvalResult:
        return super().evaluate(examples[: self.max_examples])


def test_a_custom_method_is_measured(experiment: Experiment, tmp_path: Path) -> None:
    method = get_method(f"{__name__}:Constant")
    run = run_of(experiment, "own", tmp_path, method)
    run.run_missing()
    found = run.store.load_measurement(RunSpec("own", "seed"))
    assert found.metrics == {"accuracy": 0.5}
    assert found.serving == {"1": None, "50": None}
    assert found.confusion_matrix is None


def test_each_seed_is_evaluated_once_on_the_test_set(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from softprompt.comparison.methods.local_fitted_model import LocalFittedModel

    seen: list[int] = []
    measured = LocalFittedModel.evaluate

    def counted(self: LocalFittedModel, examples: Any) -> EvalResult:
        seen.append(id(examples))
        return measured(self, examples)

    monkeypatch.setattr(LocalFittedModel, "evaluate", counted)
    run_of(experiment, "bitfit", tmp_path).run_missing()
    assert seen == [id(experiment.test)] * 2


def test_the_seconds_per_step_are_measured_once_and_stored(experiment: Experiment, tmp_path: Path) -> None:
    run = run_of(experiment, "full", tmp_path)
    seconds = run.measure_step_seconds()
    assert 0 < seconds < 5
    assert run_of(experiment, "full", tmp_path).measure_step_seconds() == seconds
