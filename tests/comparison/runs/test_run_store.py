"""The stored results of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from softprompt.comparison.runs.run_plan import RunSpec
from softprompt.comparison.runs.run_result import FailedRun, MeasuredRun, PilotResult, TrialResult
from softprompt.comparison.runs.run_store import RunStore

OLD_RUNS = sorted((Path(__file__).parents[2] / "old_data" / "comparison" / "cells").glob("*.json"))
TRIAL = RunSpec("lora", "trial", number=1)


def make_trial(learning_rate: float = 0.1) -> TrialResult:
    return TrialResult(learning_rate=learning_rate, metrics={"accuracy": 1.0})


def test_result_is_loaded_with_the_same_key_and_parameters_only(tmp_path: Path) -> None:
    store = RunStore(tmp_path, {"steps": 3})
    assert store.load_trial(TRIAL) is None
    store.save_result(TRIAL, {"rate": 0.1}, make_trial())
    assert store.load_trial(TRIAL, {"rate": 0.1}) == store.load_trial(TRIAL) == make_trial()
    assert store.load_trial(TRIAL, {"rate": 0.2}) is None
    assert RunStore(tmp_path, {"steps": 4}).load_trial(TRIAL) is None
    assert store.load_trial(RunSpec("lora", "trial", number=2)) is None


def test_methods_with_similar_names_have_different_files(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for rate, method in enumerate(("last:1", "last/1", "last-1")):
        store.save_result(RunSpec(method, "trial"), {}, make_trial(rate))
    assert [store.load_trial(RunSpec(method, "trial")) for method in ("last:1", "last/1")] == [
        make_trial(0),
        make_trial(1),
    ]


def test_run_with_a_truncated_file_counts_as_unfinished(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save_result(TRIAL, {}, make_trial())
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:-9])
    assert store.load_trial(TRIAL) is None


def test_run_with_a_file_that_lacks_fields_counts_as_unfinished(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save_result(TRIAL, {}, PilotResult(seconds_per_step=1.0))
    assert store.load_pilot(TRIAL) == PilotResult(seconds_per_step=1.0)
    assert store.load_trial(TRIAL) is None
    assert store.load_measurement(TRIAL) is None


def test_failed_run_counts_as_finished(tmp_path: Path) -> None:
    store, run = RunStore(tmp_path), RunSpec("lora", "size", number=8)
    store.save_result(run, {"rate": 0.1}, FailedRun(learning_rate=0.1, error="ran out of memory"))
    assert store.load_measurement(run) == FailedRun(learning_rate=0.1, error="ran out of memory")


@pytest.mark.parametrize("path", OLD_RUNS, ids=lambda path: path.stem)
def test_run_of_an_earlier_version_is_read_without_loss(path: Path) -> None:
    found = json.loads(path.read_text("utf-8"))["found"]
    result = (TrialResult if "-trial-" in path.name else MeasuredRun).model_validate(found)
    if isinstance(result, MeasuredRun) and result.serving:
        assert result.serving["1"].requests_per_second == found["serving"]["1"]["rows_per_second"]
    new = json.loads(json.dumps(result.to_json_object()).replace("requests_per_second", "rows_per_second"))
    assert json.dumps(new) == json.dumps(found)
