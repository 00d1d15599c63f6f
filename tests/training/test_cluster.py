"""Training on a real Ray cluster, with workers that are killed."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from softprompt.errors import ClusterError, OutputExists, SettingError, SoftPromptError, TrainingDiverged
from softprompt.training import TuneResult, TuneSettings
from softprompt.training.callbacks import NullCallback, StepEvent
from softprompt.training.cluster import dispatcher, tune_on_cluster
from softprompt.training.cluster.cluster_worker import ClusterWorker, WorkerAssignment
from softprompt.training.cluster.run_assignment import assign_runs
from softprompt.training.concurrent_runs import RunFailure, tune_concurrently
from softprompt.training.run_folder import RunFolder
from tests.cli.conftest import saved_model

#: Steps of a run that is disturbed on its way: it takes seconds, and an exchange with a worker parts of one.
MANY_STEPS = 600


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model."""
    return saved_model(tmp_path_factory.mktemp("base"), seed=0)


class Runs:
    """Factory of runs of one model on the same data."""

    def __init__(self, base: Path, data: Path):
        small = {"max_steps": 4, "batch_size": 3, "eval_steps": 2, "num_virtual_tokens": 3}
        self.shared = {"model": str(base), "data": data, "validation": data, **small}

    def __call__(self, folder: Path, each: Mapping[str, Mapping[str, Any]]) -> dict[str, TuneSettings]:
        return {
            name: TuneSettings.from_dict({**self.shared, "output": folder / name, **own}) for name, own in each.items()
        }


@pytest.fixture
def runs(base: Path, reviews: Path) -> Runs:
    return Runs(base, reviews)


def kill_a_worker() -> None:
    """Kill a worker, as a machine without memory does."""
    workers = [
        each for each in psutil.Process().children(recursive=True) if each.name().startswith("ray::ClusterWorker")
    ]
    workers[0].kill()


class RecordingCallback(NullCallback):
    """Callback that records the step at which its run began each time."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.step = 0

    def on_begin(self, steps: int, done: int) -> None:
        self.begun.append(done)

    def on_step(self, event: StepEvent) -> None:
        self.step = event.step


class KillingCallback(RecordingCallback):
    """Callback that kills a worker once, in the middle of the training."""

    killed = False

    def on_step(self, event: StepEvent) -> None:
        if event.step > 50 and not self.killed:
            self.killed = True
            kill_a_worker()


class StoppingCallback(RecordingCallback):
    """Callback that requests a stop after its first step."""

    def should_stop(self) -> bool:
        return self.step > 0


def test_cluster_runs_equal_concurrent_runs_and_a_failure_affects_no_other(
    runs: Runs, ray_cluster: str, tmp_path: Path
) -> None:
    wild = {"learning_rate": 1000, "weight_decay": 1000, "max_steps": 20, "eval_steps": 20}
    each = {"a": {}, "b": {"method": "prompt"}, "wild": wild, "c": {"seed": 1}}
    expected = tune_concurrently(runs(tmp_path / "together", each))
    found = tune_on_cluster(runs(tmp_path / "out", each), address=ray_cluster)
    assert list(found) == list(each)
    for name in ("a", "b", "c"):
        one, other = found[name], expected[name]
        assert isinstance(one, TuneResult)
        assert isinstance(other, TuneResult)
        assert one.folder == tmp_path / "out" / name
        assert one.best == pytest.approx(other.best, abs=1e-5)
        torch.testing.assert_close(one.prompt.payload.tensor, other.prompt.payload.tensor, atol=1e-5, rtol=0)
    assert isinstance(expected["wild"], RunFailure)
    assert isinstance(found["wild"], RunFailure)
    assert type(found["wild"].error) is TrainingDiverged
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a", "a.run", "b", "b.run", "c", "c.run", "wild.run")
    ]


def test_runs_of_a_killed_worker_continue_from_their_checkpoints(
    runs: Runs,
    ray_cluster: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    callbacks = {"a": KillingCallback(), "b": RecordingCallback(), "c": RecordingCallback()}
    each = {name: {"max_steps": MANY_STEPS, "eval_steps": MANY_STEPS, "save_steps": 50} for name in callbacks}
    settings = runs(tmp_path, each)
    found = tune_on_cluster(settings, callbacks.__getitem__, address=ray_cluster)
    for name, tuned in found.items():
        assert isinstance(tuned, TuneResult)
        assert tuned.prompt is not None
        assert tuned.steps == MANY_STEPS
        made = [line["step"] for line in RunFolder(settings[name].run_folder).read_log() if "loss" in line]
        assert made == list(range(1, MANY_STEPS + 1))
    again = [callback.begun[1:] for callback in callbacks.values() if len(callback.begun) > 1]
    assert all(len(steps) == 1 and steps[0] >= 50 for steps in again)
    messages = [record.getMessage() for record in caplog.records if "lost a worker" in record.getMessage()]
    assert messages == [
        f"lost a worker: another one continues from the last checkpoints (unfinished runs: {len(again)})"
    ]
    assert capsys.readouterr().out == ""  # standard output is reserved for JSON


@pytest.fixture
def kill_worker_at_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is killed before it has prepared anything."""

    def kill_and_assign(*arguments: Any) -> Any:
        kill_a_worker()
        return assign_runs(*arguments)

    monkeypatch.setattr(dispatcher, "assign_runs", kill_and_assign)


def test_unstarted_run_of_a_lost_worker_overwrites_instead_of_resuming(
    runs: Runs, ray_cluster: str, kill_worker_at_assignment: None, tmp_path: Path
) -> None:
    settings = runs(tmp_path, {"a": {}, "b": {}})
    tune_concurrently(settings)
    callbacks = {"a": RecordingCallback(), "b": RecordingCallback()}
    found = tune_on_cluster(settings, callbacks.__getitem__, overwrite=True, address=ray_cluster)
    assert all(isinstance(each, TuneResult) and each.steps == 4 for each in found.values())
    assert [callback.begun for callback in callbacks.values()] == [[0], [0]]


def test_runs_fail_after_too_many_worker_losses_and_others_complete(
    runs: Runs, ray_cluster: str, kill_worker_at_assignment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MAX_WORKER_LOSSES", 0)
    found = tune_on_cluster(runs(tmp_path, {"a": {}, "b": {}}), address=ray_cluster)
    (failed,) = [each for each in found.values() if isinstance(each, RunFailure)]
    (tuned,) = [each for each in found.values() if isinstance(each, TuneResult)]
    assert type(failed.error) is ClusterError
    assert "lost 1 worker" in str(failed.error)
    assert tuned.steps == 4


def test_cluster_runs_resume_and_stop_with_checkpoints(runs: Runs, ray_cluster: str, tmp_path: Path) -> None:
    settings = runs(tmp_path, {name: {"max_steps": 10 * MANY_STEPS, "eval_steps": 10 * MANY_STEPS} for name in "ab"})
    tune_concurrently(settings, make_callback=lambda _: StoppingCallback())
    callbacks = {name: StoppingCallback() for name in settings}
    stopped = tune_on_cluster(settings, callbacks.__getitem__, resume=True, address=ray_cluster)
    for name, tuned in stopped.items():
        assert isinstance(tuned, TuneResult)
        assert tuned.prompt is None
        assert callbacks[name].begun == [1]
        assert 1 < tuned.steps < 10 * MANY_STEPS
        assert RunFolder(settings[name].run_folder).checkpoint_file.is_file()


def test_run_that_cannot_begin_prevents_all_runs(runs: Runs, ray_cluster: str, tmp_path: Path) -> None:
    with pytest.raises(SoftPromptError, match="b: `layers=4`: choose 1 to 3") as caught:
        tune_on_cluster(runs(tmp_path / "out", {"a": {}, "b": {"layers": 4}}), address=ray_cluster)
    assert type(caught.value) is SettingError
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("each", "words"),
    [
        ({}, "there are no runs"),
        ({"a": {}, "b": {"dtype": "bfloat16"}}, "b: `dtype` must be the same"),
        ({"a": {}, "b": {"output": "same"}, "c": {"output": "same"}}, "several runs write to same"),
    ],
)
def test_incompatible_runs_are_rejected_before_connecting(
    each: dict[str, dict[str, Any]], words: str, runs: Runs, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=words):
        tune_on_cluster(runs(tmp_path / "out", each), address="127.0.0.1:1")


def test_failing_worker_start_raises_cluster_error(
    runs: Runs, ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenWorker(ClusterWorker):
        def __init__(self, cores: int):
            raise ImportError("no module named softprompt")

    monkeypatch.setattr(dispatcher, "ClusterWorker", BrokenWorker)
    with pytest.raises(ClusterError, match="no worker could be started: ImportError: no module named softprompt"):
        tune_on_cluster(runs(tmp_path / "out", {"a": {}}), address=ray_cluster)
    assert not (tmp_path / "out").exists()


def test_unreachable_cluster_raises_cluster_error(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused_socket:  # bound, but not listening
        unused_socket.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{unused_socket.getsockname()[1]}")
        with pytest.raises(ClusterError, match=r"at 127.0.0.1:\d+ cannot be used .*refused.*: check that it runs"):
            tune_on_cluster(runs(tmp_path / "out", {"a": {}}))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ClusterWorker]:
    """Worker in this process."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("softprompt")
    before = logger.handlers[:], logger.level
    yield ClusterWorker(1)
    logger.handlers[:], logger.level = before


def test_worker_rejects_missing_required_paths(worker: ClusterWorker, runs: Runs, tmp_path: Path) -> None:
    settings = runs(tmp_path / "out", {"a": {}})
    for folder, seen, missing in ((tmp_path, [Path("elsewhere")], "elsewhere"), (tmp_path / "away", [], "away")):
        with pytest.raises(SettingError, match=f"does not see {tmp_path / missing}: data, model and output"):
            worker.prepare_runs(WorkerAssignment(settings, frozenset(), False, folder, seen))


def test_resume_assignment_reports_run_that_cannot_begin(worker: ClusterWorker, runs: Runs, tmp_path: Path) -> None:
    settings = runs(tmp_path / "out", {"a": {}})
    tune_concurrently(settings)
    worker.resume_assignment(WorkerAssignment(settings, frozenset(), False, tmp_path, []))
    (ended,) = [messages for messages in worker.poll_events(frozenset()) if messages.kind == "run_ended"]
    assert ended.run_name == "a"
    assert isinstance(ended.arguments[0].error, OutputExists)


def test_resume_assignment_saves_a_finished_run_again(worker: ClusterWorker, runs: Runs, tmp_path: Path) -> None:
    settings = runs(tmp_path / "out", {"a": {}})
    before = tune_concurrently(settings)["a"]
    worker.resume_assignment(WorkerAssignment(settings, {"a"}, False, tmp_path, []))
    messages = [each for each in worker.poll_events(frozenset()) if each.kind != "log"]
    assert [each.kind for each in messages] == ["on_begin", "run_ended"]
    assert messages[-1].arguments[0].best == before.best
