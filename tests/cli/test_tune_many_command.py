"""`softprompt tune --sweep` and `--tasks`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from softprompt.saved import SavedPrompt
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.collation import Batch
from tests.cli.conftest import Softprompt

SMALL = ("--max-steps", 2, "--batch-size", 4, "--num-virtual-tokens", 3, "--eval-steps", 1)


@pytest.fixture
def given(base: Path, reviews: Path, tmp_path: Path) -> tuple[object, ...]:
    """Options that all runs share."""
    return ("tune", "--model", base, "--data", reviews, "--validation", reviews, "--output", tmp_path / "out", *SMALL)


def test_a_sweep_tunes_every_combination(softprompt: Softprompt, given: tuple[object, ...], tmp_path: Path) -> None:
    found = softprompt(*given, "--sweep", "lr=0.01,0.001,seed=0,1", "--json").json["runs"]
    assert sorted(found) == sorted(f"lr={rate},seed={seed}" for rate in ("0.01", "0.001") for seed in (0, 1))
    best = [run["best"]["accuracy"] for run in found.values()]
    assert best == sorted(best, reverse=True)
    assert all((tmp_path / "out" / name / "softprompt.json").is_file() for name in found)
    assert found["lr=0.01,seed=0"]["prompt"] == str(tmp_path / "out" / "lr=0.01,seed=0")


def test_missing_ray_is_reported(
    softprompt: Softprompt, given: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    softprompt(*given, "--sweep", "seed=0,1", "--ray").refused("ray is not installed: pip install 'softprompt[ray]'")


def test_a_sweep_prints_a_table_of_runs(softprompt: Softprompt, given: tuple[object, ...]) -> None:
    ran = softprompt(*given, "--sweep", "seed=0,1")
    assert ran.code == 0
    assert "best on validation" in ran.out
    assert "seed=0: step 1" in ran.err


def test_tune_trains_a_prompt_per_task_of_a_tasks_file(
    softprompt: Softprompt, given: tuple[object, ...], reviews: Path, tmp_path: Path
) -> None:
    file = tmp_path / "tasks.toml"
    file.write_text(f"[tasks.films]\nseed = 1\n[tasks.songs]\ndata = '{reviews}'\nmethod = 'prompt'\n", "utf-8")
    found = softprompt(*given, "--tasks", file, "--json").json["runs"]
    assert list(found) == ["films", "songs"]
    assert (tmp_path / "out" / "songs" / "softprompt.json").is_file()


def test_sweep_templates_are_unescaped_and_options_override_the_tasks_file(
    softprompt: Softprompt, given: tuple[object, ...], tmp_path: Path
) -> None:
    found = softprompt(*given, "--sweep", r"template=Review: {text}\nSo:,{text} is", "--json").json["runs"]
    templates = {SavedPrompt.from_folder(run["prompt"]).manifest.task.template for run in found.values()}
    assert templates == {"Review: {text}\nSo:", "{text} is"}
    file = tmp_path / "tasks.toml"
    file.write_text("max-steps = 40\n[tasks.films]\n", "utf-8")
    assert softprompt(*given, "--tasks", file, "--json").json["runs"]["films"]["steps"] == 2


def test_a_sweep_runs_on_a_ray_cluster(
    softprompt: Softprompt,
    given: tuple[object, ...],
    ray_cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)
    monkeypatch.chdir(tmp_path)
    ran = softprompt(*given, "--output", "here", "--sweep", "lr=0.01,0.001", "--ray", "--json")
    assert sorted(ran.json["runs"]) == ["lr=0.001", "lr=0.01"]
    assert ran.json["runs"]["lr=0.01"]["steps"] == 2
    assert "lr=0.01: step 2 validation accuracy" in ran.err
    assert (tmp_path / "here" / "lr=0.01" / "softprompt.json").is_file()


def test_a_failed_run_of_a_sweep_is_an_error_and_the_other_runs_are_saved(
    softprompt: Softprompt, given: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_losses = ClassificationObjective.compute_losses

    def losses(self: ClassificationObjective, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        return true_losses(self, hidden, batch) * (float("nan") if "Wild" in self.task.template else 1.0)

    monkeypatch.setattr(ClassificationObjective, "compute_losses", losses)
    ran = softprompt(*given, "--sweep", "template=Wild {text},{text} is")
    assert ran.code == 2
    assert "1 of 2 runs failed" in ran.err
    assert (tmp_path / "out" / "template=-text--is").is_dir()


def test_existing_runs_are_replaced_only_with_overwrite(softprompt: Softprompt, given: tuple[object, ...]) -> None:
    assert softprompt(*given, "--sweep", "seed=0,1").code == 0
    softprompt(*given, "--sweep", "seed=0,1").refused("seed=0:", "exists", "--overwrite")
    assert softprompt(*given, "--sweep", "seed=0,1", "--overwrite").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sweep", "pace=1"], ["--sweep cannot vary 'pace'", "one of"]),
        (["--sweep", "seed=0,1", "--tasks", "tasks.toml"], ["exclude each other"]),
        (["--tasks", "tasks.toml"], ["file not found: tasks.toml"]),
        (["--sweep", "seed=0,1", "--report-to", "tensorboard"], ["--report-to logs a single run"]),
        (["--ray"], ["--ray distributes several runs", "--sweep or --tasks"]),
    ],
)
def test_invalid_sweeps_and_tasks_are_rejected(
    softprompt: Softprompt, given: tuple[object, ...], arguments: list[str], words: list[str]
) -> None:
    softprompt(*given, *arguments).refused(*words)
