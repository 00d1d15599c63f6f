"""An experiment on a tiny model, with reviews for training, validation and test."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import CompareSettings, Experiment
from softprompt.comparison.runs.failure_message import describe_failure
from softprompt.comparison.runs.method_job import MethodJob
from softprompt.comparison.runs.method_worker import EventWriter, run_job
from tests.cli.conftest import saved_model

WORDS = (("great fun", "good"), ("a bore", "bad"), ("lovely", "good"), ("awful", "bad"))
SUBJECTS = {
    "train": ("the film", "the plot", "its ending", "each scene", "the cast", "a song"),
    "validation": ("the food", "its name", "the tea"),
    "test": ("the rice", "the fish", "its pie", "each tea"),
}
TEMPLATE = "{text}\nLabel:"


def reviews_of(split: str) -> list[dict[str, str]]:
    return [{"text": f"{subject} was {word}", "label": label} for subject in SUBJECTS[split] for word, label in WORDS]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama."""
    return saved_model(tmp_path_factory.mktemp("base"), seed=0)


Settings = Callable[..., CompareSettings]


@pytest.fixture
def settings(base: Path, tmp_path: Path) -> Settings:
    """Function that makes the settings of a small comparison, with changes."""
    files = {split: written(tmp_path / f"{split}.jsonl", reviews_of(split)) for split in SUBJECTS}

    def make(**changes: Any) -> CompareSettings:
        defaults = {
            "model": str(base), "data": files["train"], "validation": files["validation"], "test": files["test"],
            "template": TEMPLATE, "max_steps": 3, "batch_size": 4, "seeds": 2, "trials": 2,
            "output": tmp_path / "report",
        }  # fmt: skip
        return CompareSettings.from_dict({**defaults, **changes})

    return make


@pytest.fixture
def experiment(settings: Settings) -> Experiment:
    """Experiment that all methods share."""
    return Experiment.prepare(settings())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the methods that ran; all run in this process, which is faster."""
    names: list[str] = []

    def run_here(job: MethodJob, log_path: Path, on_event: Any) -> str | None:
        names.append(job.method)
        try:
            run_job(job, EventWriter(io.StringIO()))
        except Exception as error:
            return describe_failure(error)
        return None

    monkeypatch.setattr("softprompt.comparison.comparison_runner.run_in_subprocess", run_here)
    return names
