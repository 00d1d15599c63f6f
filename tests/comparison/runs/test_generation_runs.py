"""Methods on generation tasks, such as instruction tuning."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.comparison import Experiment
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.runs.method_runner import MethodRunner, NullRunCallback
from softprompt.comparison.runs.run_plan import RunSpec
from softprompt.comparison.runs.run_store import RunStore
from tests.comparison.conftest import Settings, written

FOODS = ("rice", "fish", "tea", "pie")


@pytest.fixture
def experiment(settings: Settings, tmp_path: Path) -> Experiment:
    def rows(*names: str) -> list[dict[str, str]]:
        return [
            {"instruction": f"name: {n}, food: {f}", "input": "", "output": f"{n} serves {f}."}
            for n in names
            for f in FOODS
        ]

    files = {
        "data": written(tmp_path / "a.jsonl", rows("Aro", "Ber", "Cil")),
        "validation": written(tmp_path / "b.jsonl", rows("Dan")),
        "test": written(tmp_path / "c.jsonl", rows("Eva", "Fin")),
    }
    return Experiment.prepare(settings(**files, template=None, seeds=1, trials=1))


@pytest.mark.parametrize("name", ["hard", "few-shot:1", "prefix", "lora", "full"])
def test_methods_are_measured_on_instructions_by_perplexity_loss_and_bleu(
    experiment: Experiment, name: str, tmp_path: Path
) -> None:
    """The format is Alpaca's, detected by its fields: instruction tuning."""
    run = MethodRunner(experiment, name, get_method(name), 2, RunStore(tmp_path / "cells"), NullRunCallback())
    run.run_missing()
    found = run.store.load_measurement(RunSpec(name, "seed"))
    assert list(found.metrics) == ["perplexity", "loss", "bleu"]
    assert 0 <= found.metrics["bleu"] <= 100
    assert len(found.scores) == 8
    assert max(found.scores) < 0  # of a response minus its loss per token
    assert found.confusion_matrix is None
    assert found.serving["50"].requests_per_second > 0


def test_the_head_method_is_rejected_for_generation(experiment: Experiment, tmp_path: Path) -> None:
    from softprompt.errors import TaskError

    with pytest.raises(TaskError, match="head is not supported for generation"):
        MethodRunner(experiment, "head", get_method("head"), 2, RunStore(tmp_path), NullRunCallback()).run_missing()
