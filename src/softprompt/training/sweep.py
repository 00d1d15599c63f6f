"""Sweeps: many runs from all combinations of setting values, or one run for each task of a TOML file."""

from __future__ import annotations

import hashlib
import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from softprompt.comma_lists import split_parts, strip_quotes
from softprompt.errors import DataError, SettingError
from softprompt.training.renamed_settings import RENAMED_SETTINGS, rename_settings
from softprompt.training.tune_settings import TuneSettings

SETTING_ALIASES = {"lr": "learning_rate"}

#: Settings that all runs of a sweep share: joint runs have one model, and `output` is their parent folder.
SHARED_SETTINGS = ("model", "device", "dtype", "output", "gradient_checkpointing")

#: Settings that hold several values.
MULTI_VALUED_SETTINGS = ("labels", "verbalizer", "map")

MAX_FOLDER_NAME_LENGTH = 100  # in characters


def parse_sweep(text: str) -> dict[str, list[str]]:
    """Parse a sweep such as `lr=0.01,0.003,seed=0,1,2` to values by setting name.

    Raises:
        SettingError: If a setting is missing, unknown, shared by all runs, given twice, or has no values.
    """
    sweep: dict[str, list[str]] = {}
    name = ""
    for part in split_parts("`sweep`", text):
        head, equals, value = part.partition("=")
        if equals and _is_setting_name(head):
            name = _resolve_setting_name(head.strip())
            if name in sweep:
                raise SettingError(f"`sweep={text!r}` has the setting {head.strip()} twice: list all its values once")
            sweep[name] = []
        else:
            value = part
        if not name or not value.strip():
            raise SettingError(f"`sweep={text!r}` is not a sweep: write it like lr=0.01,0.003,seed=0,1,2")
        sweep[name].append(strip_quotes(value.strip()))
    return sweep


def _is_setting_name(text: str) -> bool:
    return re.fullmatch(r"\s*[a-z][a-z_-]*\s*", text) is not None


def _resolve_setting_name(name: str) -> str:
    allowed = [field for field in TuneSettings.model_fields if field not in SHARED_SETTINGS + MULTI_VALUED_SETTINGS]
    setting = SETTING_ALIASES.get(name, name.replace("-", "_"))
    setting = RENAMED_SETTINGS.get(setting, setting)
    if setting not in allowed:
        raise SettingError(f"`sweep` cannot vary {name!r}: choose one of {', '.join(allowed)}, or lr for learning_rate")
    return setting


def expand_sweep(base_settings: Mapping[str, Any], sweep: Mapping[str, Sequence[str]]) -> dict[str, TuneSettings]:
    """Build the settings of every combination, by a run name such as `lr=0.01,seed=0`.

    Each run writes to a folder of its name in `output`.

    Args:
        base_settings: Settings that all runs share, by name.
        sweep: Values of each setting that varies, by name.

    Raises:
        SettingError: If a value is invalid or is given twice.
    """
    aliases = {setting: name for name, setting in SETTING_ALIASES.items()}
    runs: dict[str, TuneSettings] = {}
    for values in itertools.product(*sweep.values()):
        combination = dict(zip(sweep, values, strict=True))
        name = ",".join(f"{aliases.get(key, key).replace('_', '-')}={value}" for key, value in combination.items())
        _add_run(runs, name, {**base_settings, **combination})
    return runs


def load_runs_from_toml(
    defaults: Mapping[str, Any], file: Path, overrides: Mapping[str, Any]
) -> dict[str, TuneSettings]:
    """Build a run for each table `[tasks.NAME]` of a TOML file. Keys above the tables hold for all runs.

    Args:
        defaults: Settings that hold unless the file sets them.
        file: TOML file.
        overrides: Settings that take precedence over the file.

    Raises:
        DataError: If the file is missing, is not TOML, or has two tasks of one name.
        SettingError: If there are no tasks, or a setting is invalid.
    """
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"file not found: {file}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        twice = re.search(r"Cannot declare \('tasks', '([^']*)'\) twice", str(error))
        problem = f"two tasks are named {twice[1]!r}" if twice else f"the file is not valid TOML: {error}"
        raise DataError(f"{file}: {problem}") from error
    tasks = content.pop("tasks", None)
    if not isinstance(tasks, dict) or not tasks or not all(isinstance(table, dict) for table in tasks.values()):
        raise SettingError(f"{file} has no tasks: add a table [tasks.NAME] for each task")
    runs: dict[str, TuneSettings] = {}
    shared = _normalize_keys(content)
    for name, table in tasks.items():
        if shared_keys := [key for key in table if key.replace("-", "_") in SHARED_SETTINGS]:
            raise SettingError(
                f"{file}: [tasks.{name}] sets {shared_keys[0]}, which all tasks share: move it above the tables"
            )
        _add_run(runs, name, {**defaults, **shared, **_normalize_keys(table), **overrides})
    return runs


def _normalize_keys(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table's settings by their names in Python. Names of an earlier version are translated."""
    return rename_settings({name.replace("-", "_"): value for name, value in table.items()})


def _make_folder_name(name: str) -> str:
    folder = re.sub(r"[^\w=,.+-]", "-", name)
    if len(folder) > MAX_FOLDER_NAME_LENGTH:
        folder = f"{folder[:MAX_FOLDER_NAME_LENGTH]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    if not folder.strip(".") or folder.endswith(".run"):
        raise SettingError(
            f"{name!r} cannot be the name of a run: each run writes to a folder of its name, and NAME.run beside it"
        )
    return folder


def _add_run(runs: dict[str, TuneSettings], name: str, options: Mapping[str, Any]) -> None:
    if "output" not in options:
        raise SettingError("`output` is missing: pass the parent folder of the runs' folders")
    folder = _make_folder_name(name)
    settings = TuneSettings.from_dict({**options, "output": Path(options["output"]) / folder})
    if any(settings.output == other.output for other in runs.values()):
        raise SettingError(f"two runs would be named {folder}: use each value or task name once")
    runs[name] = settings
