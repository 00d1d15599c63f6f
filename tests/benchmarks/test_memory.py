"""The memory benchmark runs and reports all expected fields. Its numbers for a tiny model mean nothing."""

from __future__ import annotations

import json
import math

import pytest
import torch

from benchmarks import memory
from benchmarks.lib.random_models import LABELS, create_random_model
from benchmarks.lib.train_steps import TEMPLATE
from benchmarks.memory import TASKS, VARIANTS, StepSetting, TrainingVariant

TINY = StepSetting("tiny", "float32", "cpu", rows=3, length=32)


def test_each_variant_runs_in_its_own_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = (TrainingVariant("prefix", "peft"), TrainingVariant("prefix", "softprompt", gradient_checkpointing=True))
    monkeypatch.setattr(memory, "VARIANTS", some)
    monkeypatch.setattr("sys.argv", ["memory", "--shape", "tiny", "--rows", "2", "--length", "64", "--device", "cpu"])
    memory.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"benchmark", "command", *TASKS}
    for task in TASKS:
        assert set(found[task]["mebibytes"]) == {str(way) for way in some}
        assert set(found[task]["of_peft"]) == {str(some[1])}
        figures = [*found[task]["mebibytes"].values(), *found[task]["of_peft"].values()]
        assert all(math.isfinite(figure) and figure > 0 for figure in figures)


@pytest.mark.parametrize("task", TASKS)
def test_sequences_have_the_requested_length(task: str) -> None:
    objective, rows = memory.make_task(
        create_random_model("tiny", "float32", "cpu", [TEMPLATE, *LABELS]), task, TINY, with_responses=True
    )
    assert [len(row) for row in rows] == [TINY.length] * TINY.rows
    assert objective.collate(rows, None).input_ids.shape[0] == TINY.rows


def test_a_variant_that_runs_out_of_memory_has_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def step() -> int:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(memory, "make_step", lambda *_: step)
    model = create_random_model("tiny", "float32", "cpu", [TEMPLATE, *LABELS])
    assert memory.measure_peak(model, TINY, VARIANTS[0], "generation") is None
    peaks = memory.measure_peaks(lambda *_: None)
    assert memory.summarize_peaks(peaks)["generation"]["of_peft"][str(TrainingVariant("prefix", "softprompt"))] is None
    memory.print_peaks(peaks, TINY)
