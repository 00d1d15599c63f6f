"""A way run cell by cell: rates by validation, the test set once a seed, nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import Bench, Fitted, Kind, Measured, Trial, Way
from softprompt.comparison.cells import Cell, Cells, planned
from softprompt.comparison.running import Unheard, WayRun
from softprompt.comparison.summary import scores_of, summarised
from softprompt.comparison.ways import way_named
from softprompt.data import Example
from softprompt.errors import TrainingDiverged
from softprompt.training import Watcher
from tests.comparison.conftest import Settings


class Heard(Unheard):
    def __init__(self) -> None:
        self.cells: list[str] = []
        self.trained = 0

    def begin(self, steps: int, done: int) -> None:
        self.trained += 1

    def cell_ended(self, cell: str) -> None:
        self.cells.append(cell)


def run_of(bench: Bench, name: str, folder: Path, way: Way | None = None) -> WayRun:
    return WayRun(bench, name, way or way_named(name), 3, Cells(folder, {"steps": 3}), Heard())


def test_a_way_from_its_rates_to_its_sweeps(settings: Settings, tmp_path: Path) -> None:
    bench = Bench.of(settings(sizes=(4,), sweep={"virtual-tokens": ("1", "3")}))
    run = run_of(bench, "prefix", tmp_path)
    assert not run.is_finished()
    run.run()
    assert run.is_finished()
    plan = planned(bench.settings, "prefix", run.way)
    assert run.watcher.cells == [cell.name for cell in plan]
    assert len(plan) == 2 + 2 + 2 + 4
    assert run.watcher.trained == 2 + 1 + 2 + 4  # seed 0 went on with the best trial
    found = {cell.name: run.cells.find(cell) for cell in plan}
    trials = [found[f"prefix/trial/{number}/0"] for number in range(2)]
    best = max(trials, key=lambda each: (each["metrics"]["accuracy"], -each["metrics"]["loss"]))
    assert {each["rate"] for name, each in found.items() if "trial" not in name} == {best["rate"]}
    assert found["prefix/seed/0/0"]["course"]["metrics"] == best["metrics"]
    parameters = found["prefix/seed/0/0"]["trained_parameters"]
    assert found["prefix/sweep/virtual-tokens/3/0/0"]["trained_parameters"] == 3 * parameters / 32
    first, second = found["prefix/seed/0/0"], found["prefix/seed/0/1"]
    assert len(first["scores"]) == len(second["scores"]) == 16
    assert first["scores"] == [float(score) for score in first["scores"]]
    assert sum(first["scores"]) / 16 == first["metrics"]["accuracy"]
    assert sum(map(sum, first["confusion"])) == 16
    assert set(first["serving"]) == {"1", "50"}
    assert "serving" not in second
    assert first["peak_memory_bytes"] > 1e7


def test_what_is_finished_is_not_run_again(bench: Bench, tmp_path: Path) -> None:
    run_of(bench, "lora", tmp_path).run()
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    again = run_of(bench, "lora", tmp_path)
    again.run()
    assert again.watcher.trained == 0
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files
    lost = next(file for file in files if "seed-0-1" in file.name)
    lost.unlink()
    third = run_of(bench, "lora", tmp_path)
    assert not third.is_finished()
    third.run()
    assert third.watcher.trained == 1
    assert _figures(lost.read_bytes()) == _figures(files[lost])  # the same again


def _figures(content: bytes) -> Any:
    import json

    found = json.loads(content)["found"]
    return found["scores"], found["metrics"]


def test_interrupted_between_the_rates_and_the_seeds(bench: Bench, tmp_path: Path) -> None:
    run_of(bench, "prefix", tmp_path / "whole").run()
    part = run_of(bench, "prefix", tmp_path / "part")
    part._searched([cell for cell in planned(bench.settings, "prefix", part.way) if cell.purpose == "trial"])
    run_of(bench, "prefix", tmp_path / "part").run()  # the model of the best rate is gone, and made again
    for file in (tmp_path / "whole").iterdir():
        if "seed" in file.name:
            assert _figures(file.read_bytes()) == _figures((tmp_path / "part" / file.name).read_bytes())


class Wild(Way):
    """Diverges at every rate above its own."""

    title, kind = "wild", Kind.WEIGHTS

    def __init__(self, safe: float = 1e-3):
        self.safe = safe

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
        if trial.rate > self.safe:
            raise TrainingDiverged("the loss was not a number")
        return way_named("lora").fit(bench, replace(trial, rate=1e-3), watcher)


def test_a_rate_that_diverges_is_a_bad_rate(bench: Bench, tmp_path: Path) -> None:
    run = run_of(bench, "wild", tmp_path, Wild())
    run.run()
    assert run.cells.find(Cell("wild", "trial", number=1)) == {
        "rate": 3e-3, "metrics": None, "error": "the loss was not a number",
    }  # fmt: skip
    assert run.cells.find(Cell("wild", "seed"))["rate"] == 1e-3
    with pytest.raises(TrainingDiverged, match="at any of 2 rates around 0.001"):
        run_of(bench, "wilder", tmp_path, Wild(safe=0.0)).run()


def test_a_later_seed_that_diverges_leaves_the_others(settings: Settings, tmp_path: Path) -> None:
    class WildLater(Wild):
        def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
            if trial.seed == 1:
                raise TrainingDiverged("the loss was not a number")
            return way_named("lora").fit(bench, trial, watcher)

    bench = Bench.of(settings(trials=1, seeds=3))
    run = run_of(bench, "wild", tmp_path, WildLater())
    run.run()
    assert run.is_finished()
    plan = planned(bench.settings, "wild", run.way)
    assert len(scores_of(plan, run.cells)) == 2
    summary = summarised(run.way, plan, run.cells, bench, None)
    assert len(summary["accuracy"]["seeds"]) == 2
    assert summary["left_out"] == {"wild/seed/0/1": "the loss was not a number"}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), RuntimeError("a fault of ours")])
def test_a_size_that_runs_out_of_memory_leaves_the_rest(error: Exception, settings: Settings, tmp_path: Path) -> None:
    class Large(Wild):
        def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
            if len(trial.examples) == 8:
                raise error
            return way_named("lora").fit(bench, trial, watcher)

    run = run_of(Bench.of(settings(trials=1, seeds=1, sizes=(8,))), "large", tmp_path, Large())
    if "fault" in str(error):
        with pytest.raises(RuntimeError, match="a fault of ours"):
            run.run()
        return
    run.run()
    found = run.cells.find(Cell("large", "size", number=8))
    assert found is not None
    assert found["error"].startswith("ran out of memory")


class FirstTwo(Wild):
    """Is measured on two examples, as an API is on fifty."""

    learns = repeats = False

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
        return Some(bench)


def test_a_way_may_be_measured_on_some_examples(bench: Bench, tmp_path: Path) -> None:
    run = run_of(bench, "some", tmp_path, FirstTwo())
    run.run()
    assert run.cells.find(Cell("some", "seed"))["scores"] == [0.0, 1.0]


class Constant(Way):
    """The twenty lines of somebody's own way: always the first label."""

    title, kind, learns, repeats = "always the first", Kind.PROMPTING, False, False

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
        return First(bench)


class First(Fitted):
    def __init__(self, bench: Bench):
        self.bench = bench
        self.measured_on: list[int] = []

    def measured(self, examples: Sequence[Example]) -> Measured:
        self.measured_on.append(len(examples))
        right = [float(self.bench.task.index(example) == 0) for example in examples]
        return Measured({"accuracy": sum(right) / len(right)}, right)


class Some(First):
    most = 2

    def measured(self, examples: Sequence[Example]) -> Measured:
        return super().measured(examples[: self.most])


def test_a_way_of_ones_own(bench: Bench, tmp_path: Path) -> None:
    way = way_named(f"{__name__}:Constant")
    run = run_of(bench, "own", tmp_path, way)
    run.run()
    found = run.cells.find(Cell("own", "seed"))
    assert found["metrics"] == {"accuracy": 0.5}
    assert found["serving"] == {"1": None, "50": None}
    assert found["confusion"] is None


def test_the_test_set_is_measured_once_a_seed(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from softprompt.comparison.local import FittedHere

    seen: list[int] = []
    measured = FittedHere.measured

    def counted(self: FittedHere, examples: Any) -> Measured:
        seen.append(id(examples))
        return measured(self, examples)

    monkeypatch.setattr(FittedHere, "measured", counted)
    run_of(bench, "bitfit", tmp_path).run()
    assert seen == [id(bench.test)] * 2


def test_how_long_an_update_takes(bench: Bench, tmp_path: Path) -> None:
    run = run_of(bench, "full", tmp_path)
    seconds = run.pilot()
    assert 0 < seconds < 5
    assert run_of(bench, "full", tmp_path).pilot() == seconds
