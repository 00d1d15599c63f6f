"""Many prompts on a Ray cluster: as together, and though workers are lost. The cluster is a real one."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from softprompt.errors import ClusterFailed, OutputExists, SettingError, SoftPromptError, TrainingDiverged
from softprompt.training import Tuned, TuneSettings
from softprompt.training.cluster import dispatching, run_on_cluster
from softprompt.training.cluster.dealing import dealt
from softprompt.training.cluster.worker import Share, Worker
from softprompt.training.many import Failed, run_together
from softprompt.training.run_folder import RunFolder
from softprompt.training.watching import Stepped, Unwatched
from tests.cli.conftest import saved_model

#: Steps of a run that is disturbed on its way: it takes seconds, and an exchange with a worker parts of one.
MANY = 600


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    return saved_model(tmp_path_factory.mktemp("base"), seed=0)


class Runs:
    """Makes runs of the same model on the same data."""

    def __init__(self, base: Path, data: Path):
        small = {"steps": 4, "batch_size": 3, "evaluate_every": 2, "virtual_tokens": 3}
        self.shared = {"model": str(base), "data": data, "validation": data, **small}

    def __call__(self, folder: Path, each: Mapping[str, Mapping[str, Any]]) -> dict[str, TuneSettings]:
        return {name: TuneSettings.of({**self.shared, "output": folder / name, **own}) for name, own in each.items()}


@pytest.fixture
def runs(base: Path, reviews: Path) -> Runs:
    return Runs(base, reviews)


def kill_a_worker() -> None:
    """As a machine does that runs out of memory."""
    workers = [each for each in psutil.Process().children(recursive=True) if each.name().startswith("ray::Worker")]
    workers[0].kill()


class Sees(Unwatched):
    """Remembers from where its run began each time."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.step = 0

    def begin(self, steps: int, done: int) -> None:
        self.begun.append(done)

    def stepped(self, event: Stepped) -> None:
        self.step = event.step


class Kills(Sees):
    """Kills a worker in the middle of the training, once."""

    killed = False

    def stepped(self, event: Stepped) -> None:
        if event.step > 50 and not self.killed:
            self.killed = True
            kill_a_worker()


class Stops(Sees):
    """Asks to stop as soon as it sees a step."""

    def stop_requested(self) -> bool:
        return self.step > 0


def test_they_end_as_together_and_one_that_fails_leaves_the_others_alone(
    runs: Runs, ray_cluster: str, tmp_path: Path
) -> None:
    wild = {"learning_rate": 1000, "weight_decay": 1000, "steps": 20, "evaluate_every": 20}
    each = {"a": {}, "b": {"method": "prompt"}, "wild": wild, "c": {"seed": 1}}
    expected = run_together(runs(tmp_path / "together", each))
    found = run_on_cluster(runs(tmp_path / "out", each), address=ray_cluster)
    assert list(found) == list(each)
    for name in ("a", "b", "c"):
        one, other = found[name], expected[name]
        assert isinstance(one, Tuned)
        assert isinstance(other, Tuned)
        assert one.folder == tmp_path / "out" / name
        assert one.best == pytest.approx(other.best, abs=1e-5)
        torch.testing.assert_close(one.prompt.payload.tensor, other.prompt.payload.tensor, atol=1e-5, rtol=0)
    assert isinstance(expected["wild"], Failed)
    assert isinstance(found["wild"], Failed)
    assert type(found["wild"].error) is TrainingDiverged
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a", "a.run", "b", "b.run", "c", "c.run", "wild.run")
    ]


def test_the_runs_of_a_killed_worker_go_on_from_their_checkpoints(
    runs: Runs,
    ray_cluster: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    watchers = {"a": Kills(), "b": Sees(), "c": Sees()}
    each = {name: {"steps": MANY, "evaluate_every": MANY, "save_every": 50} for name in watchers}
    settings = runs(tmp_path, each)
    found = run_on_cluster(settings, watchers.__getitem__, address=ray_cluster)
    for name, tuned in found.items():
        assert isinstance(tuned, Tuned)
        assert tuned.prompt is not None
        assert tuned.steps == MANY
        made = [line["step"] for line in RunFolder(settings[name].run_folder).lines() if "loss" in line]
        assert made == list(range(1, MANY + 1))
    again = [watcher.begun[1:] for watcher in watchers.values() if len(watcher.begun) > 1]
    assert all(len(steps) == 1 and steps[0] >= 50 for steps in again)
    said = [record.getMessage() for record in caplog.records if "worker" in record.getMessage()]
    assert said == [f"lost a worker: another one goes on from the last checkpoints (unfinished runs: {len(again)})"]
    assert capsys.readouterr().out == ""  # where the command line may print JSON


@pytest.fixture
def lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is killed before it has prepared anything."""

    def kills(*arguments: Any) -> Any:
        kill_a_worker()
        return dealt(*arguments)

    monkeypatch.setattr(dispatching, "dealt", kills)


def test_what_never_began_is_begun_elsewhere_and_not_what_was_there_before(
    runs: Runs, ray_cluster: str, lost_at_once: None, tmp_path: Path
) -> None:
    settings = runs(tmp_path, {"a": {}, "b": {}})
    run_together(settings)
    watchers = {"a": Sees(), "b": Sees()}
    found = run_on_cluster(settings, watchers.__getitem__, overwrite=True, address=ray_cluster)
    assert all(isinstance(each, Tuned) and each.steps == 4 for each in found.values())
    assert [watcher.begun for watcher in watchers.values()] == [[0], [0]]


def test_what_is_lost_too_often_has_failed_and_the_others_end(
    runs: Runs, ray_cluster: str, lost_at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "MOST_LOSSES", 0)
    found = run_on_cluster(runs(tmp_path, {"a": {}, "b": {}}), address=ray_cluster)
    (failed,) = [each for each in found.values() if isinstance(each, Failed)]
    (tuned,) = [each for each in found.values() if isinstance(each, Tuned)]
    assert type(failed.error) is ClusterFailed
    assert "lost 1 worker" in str(failed.error)
    assert tuned.steps == 4


def test_they_go_on_from_checkpoints_and_stop_with_some_when_asked(
    runs: Runs, ray_cluster: str, tmp_path: Path
) -> None:
    settings = runs(tmp_path, {name: {"steps": 10 * MANY, "evaluate_every": 10 * MANY} for name in "ab"})
    run_together(settings, watcher=lambda _: Stops())
    watchers = {name: Stops() for name in settings}
    stopped = run_on_cluster(settings, watchers.__getitem__, resume=True, address=ray_cluster)
    for name, tuned in stopped.items():
        assert isinstance(tuned, Tuned)
        assert tuned.prompt is None
        assert watchers[name].begun == [1]
        assert 1 < tuned.steps < 10 * MANY
        assert RunFolder(settings[name].run_folder).checkpoint.is_file()


def test_one_that_cannot_begin_keeps_all_from_it(runs: Runs, ray_cluster: str, tmp_path: Path) -> None:
    with pytest.raises(SoftPromptError, match="b: `layers=4`: .* has 3") as caught:
        run_on_cluster(runs(tmp_path / "out", {"a": {}, "b": {"layers": 4}}), address=ray_cluster)
    assert type(caught.value) is SettingError
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("each", "words"),
    [
        ({}, "no runs"),
        ({"a": {}, "b": {"dtype": "bfloat16"}}, "b: `dtype` must be the same"),
        ({"a": {}, "b": {"output": "same"}, "c": {"output": "same"}}, "several runs write to same"),
    ],
)
def test_what_does_not_go_together_never_reaches_the_cluster(
    each: dict[str, dict[str, Any]], words: str, runs: Runs, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=words):
        run_on_cluster(runs(tmp_path / "out", each), address="127.0.0.1:1")


def test_machines_that_cannot_start_a_worker(
    runs: Runs, ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Worker):
        def __init__(self, cores: int):
            raise ImportError("no module named softprompt")

    monkeypatch.setattr(dispatching, "Worker", Broken)
    with pytest.raises(ClusterFailed, match="no worker could be started: ImportError: no module named softprompt"):
        run_on_cluster(runs(tmp_path / "out", {"a": {}}), address=ray_cluster)
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_not_there(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # and nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ClusterFailed, match=r"at 127.0.0.1:\d+ cannot be used .*refused.*: see that it runs"):
            run_on_cluster(runs(tmp_path / "out", {"a": {}}))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Worker]:
    """A worker in this process."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("softprompt")
    before = logger.handlers[:], logger.level
    yield Worker(1)
    logger.handlers[:], logger.level = before


def test_a_machine_that_sees_other_files(worker: Worker, runs: Runs, tmp_path: Path) -> None:
    settings = runs(tmp_path / "out", {"a": {}})
    for folder, seen, missing in ((tmp_path, [Path("elsewhere")], "elsewhere"), (tmp_path / "away", [], "away")):
        with pytest.raises(SettingError, match=f"does not see {tmp_path / missing}: data, model and output"):
            worker.prepare(Share(settings, frozenset(), False, folder, seen))


def test_who_takes_over_what_cannot_begin_says_so(worker: Worker, runs: Runs, tmp_path: Path) -> None:
    settings = runs(tmp_path / "out", {"a": {}})
    run_together(settings)
    worker.take_over(Share(settings, frozenset(), False, tmp_path, []))
    (ended,) = [said for said in worker.exchange(frozenset()) if said.event == "ended"]
    assert ended.run == "a"
    assert isinstance(ended.arguments[0].error, OutputExists)


def test_who_takes_over_what_was_done_saves_it_again(worker: Worker, runs: Runs, tmp_path: Path) -> None:
    settings = runs(tmp_path / "out", {"a": {}})
    before = run_together(settings)["a"]
    worker.take_over(Share(settings, {"a"}, False, tmp_path, []))
    said = [each for each in worker.exchange(frozenset()) if each.event != "log"]
    assert [each.event for each in said] == ["begin", "ended"]
    assert said[-1].arguments[0].best == before.best
