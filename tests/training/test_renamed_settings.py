"""Settings under the names of version 0.1.0: in Python, in TOML files, in sweeps, and in the run.json of an old run."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from softprompt.cli.settings_resolution import resolve_settings
from softprompt.comparison import CompareSettings
from softprompt.errors import CheckpointError, SettingError
from softprompt.training import TuneResult, TuneSettings, tune_from_settings
from softprompt.training.checkpoint import compute_run_hash
from softprompt.training.renamed_settings import RENAMED_SETTINGS, rename_settings
from softprompt.training.run_folder import RunFolder
from softprompt.training.sweep import expand_sweep, load_runs_from_toml, parse_sweep
from tests.cli.conftest import saved_model

OLD_DATA = Path(__file__).parents[1] / "old_data"
REQUIRED: dict[str, Any] = {"data": "train.jsonl", "output": "p"}
OLD_VALUES: dict[str, Any] = {
    "steps": 7, "validation_rows": 50, "virtual_tokens": 5, "encoder_hidden": 24, "accumulate": 2, "warmup": 0.25,
    "clip": 0.5, "evaluate_every": 3, "patience": 2, "save_every": 4,
}  # fmt: skip


def test_every_current_name_is_a_setting_and_no_old_name_is() -> None:
    assert OLD_VALUES.keys() == RENAMED_SETTINGS.keys()
    assert set(RENAMED_SETTINGS.values()) <= set(TuneSettings.model_fields)
    assert not set(RENAMED_SETTINGS) & set(TuneSettings.model_fields)


def test_old_names_are_translated_with_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = TuneSettings.from_dict({**REQUIRED, **OLD_VALUES})
    assert {old: getattr(settings, new) for old, new in RENAMED_SETTINGS.items()} == OLD_VALUES
    [line] = [record.getMessage() for record in caplog.records]
    assert "`steps` is now `max_steps`" in line
    assert "`accumulate` is now `gradient_accumulation_steps`" in line


def test_current_names_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    TuneSettings.from_dict({**REQUIRED, "max_steps": 3})
    assert not caplog.records


def test_passing_both_names_of_a_setting_raises_setting_error() -> None:
    with pytest.raises(SettingError, match="`accumulate` is the earlier name of `gradient_accumulation_steps`"):
        TuneSettings.from_dict({**REQUIRED, "accumulate": 2, "gradient_accumulation_steps": 2})


def test_compare_settings_translate_their_own_settings_only() -> None:
    assert CompareSettings.from_dict({**REQUIRED, "test": "test.jsonl", "steps": 7}).max_steps == 7
    with pytest.raises(SettingError, match="unknown setting 'accumulate'"):
        CompareSettings.from_dict({**REQUIRED, "test": "test.jsonl", "accumulate": 2})


def test_an_old_toml_key_is_read_and_the_command_line_takes_precedence(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('data = "train.jsonl"\noutput = "p"\nsteps = 7\nvirtual-tokens = 5\n', "utf-8")
    settings = resolve_settings(TuneSettings, {"max_steps": 9}, config, resume=False)
    assert (settings.max_steps, settings.num_virtual_tokens) == (9, 5)
    config.write_text('data = "train.jsonl"\noutput = "p"\nsteps = 7\nmax-steps = 5\n', "utf-8")
    with pytest.raises(SettingError, match="`steps` is the earlier name of `max_steps`"):
        resolve_settings(TuneSettings, {}, config, resume=False)


def test_a_task_file_with_old_keys_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tasks.toml"
    file.write_text(
        "steps = 7\nclip = 0.5\n[tasks.a]\ndata = 'a.jsonl'\n[tasks.b]\ndata = 'b'\nmax-steps = 3\n", "utf-8"
    )
    runs = load_runs_from_toml({"max_steps": 99}, file, {"output": tmp_path})
    assert [(run.max_steps, run.max_grad_norm) for run in runs.values()] == [(7, 0.5), (3, 0.5)]


def test_a_sweep_over_an_old_name_varies_the_renamed_setting() -> None:
    assert parse_sweep("virtual-tokens=3,5") == {"num_virtual_tokens": ["3", "5"]}
    runs = expand_sweep({**REQUIRED, "steps": 2}, parse_sweep("accumulate=1,2"))
    assert list(runs) == ["gradient-accumulation-steps=1", "gradient-accumulation-steps=2"]
    with pytest.raises(SettingError, match="has the setting max-steps twice"):
        parse_sweep("steps=1,max-steps=2")


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Copy of the run that version 0.1.0 made, in the current directory, with its data and its base model."""
    monkeypatch.chdir(tmp_path)
    saved_model(tmp_path / "base", seed=0)
    shutil.copytree(OLD_DATA / "run_data", tmp_path, dirs_exist_ok=True)
    run_folder = RunFolder(shutil.copytree(OLD_DATA / "run", tmp_path / "prompt.run"))
    # run.json had absolute paths when the checkpoint was written, so the hash of its settings has changed since.
    with safe_open(run_folder.checkpoint_file, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {**file.metadata(), "run": compute_run_hash(run_folder.read_metadata())}
    save_file(tensors, run_folder.checkpoint_file, metadata)
    return run_folder


def resume(settings: TuneSettings) -> TuneResult:
    return tune_from_settings(settings, resume=True)


def test_a_run_with_old_names_in_its_run_json_is_resumed(old_run: RunFolder) -> None:
    settings = resolve_settings(TuneSettings, {"output": Path("prompt")}, None, resume=True)
    assert (settings.max_steps, settings.gradient_accumulation_steps, settings.max_grad_norm) == (4, 2, 0.5)
    logged = old_run.read_log()
    result = resume(settings)
    assert (result.steps, result.best["step"]) == (4, 4)
    assert result.best["loss"] == pytest.approx(logged[-1]["validation"]["loss"], abs=1e-4)
    assert old_run.read_log() == logged
    assert Path("prompt/softprompt.json").is_file()


def test_an_old_run_is_not_resumed_with_a_changed_setting(old_run: RunFolder) -> None:
    settings = resolve_settings(TuneSettings, {"output": Path("prompt")}, None, resume=True)
    changed = settings.model_copy(update={"max_grad_norm": 1.0})
    with pytest.raises(CheckpointError, match=r"`max_grad_norm` \(was 0\.5\)"):
        resume(changed)


def test_renaming_leaves_other_names_alone() -> None:
    assert rename_settings({"lr": 1, "steps": 2}, {"steps": "max_steps"}) == {"lr": 1, "max_steps": 2}
