"""Many runs from a few words: each value of each setting with each of the others, or a task each of a TOML file."""

from __future__ import annotations

import hashlib
import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from softprompt.errors import DataError, SettingError
from softprompt.quoting import parts_of, unquoted
from softprompt.training.settings import TuneSettings

ALIASES = {"lr": "learning_rate"}

#: Settings that all runs of a sweep have alike: what is in one run has one model, and a folder made by its name.
SHARED = ("model", "device", "dtype", "output", "gradient_checkpointing")

#: Settings that are no single value.
MANIFOLD = ("labels", "verbalizer", "map")

LONGEST_NAME = 100  # characters of a folder's


def swept(text: str) -> dict[str, list[str]]:
    """Settings and their values from `lr=0.01,0.003,seed=0,1,2`.

    Raises:
        SettingError: no setting, one that does not exist or is the same for all, or one without values.
    """
    found: dict[str, list[str]] = {}
    name = ""
    for part in parts_of("`sweep`", text):
        head, equals, value = part.partition("=")
        if equals and _is_name(head):
            name = _setting(head.strip())
            if name in found:
                raise SettingError(f"`sweep={text!r}` names {head.strip()} twice")
            found[name] = []
        else:
            value = part
        if not name or not value.strip():
            raise SettingError(f"`sweep={text!r}` cannot be read: write it like lr=0.01,0.003,seed=0,1,2")
        found[name].append(unquoted(value.strip()))
    return found


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\s*[a-z][a-z_-]*\s*", text) is not None


def _setting(name: str) -> str:
    known = [each for each in TuneSettings.model_fields if each not in SHARED + MANIFOLD]
    setting = ALIASES.get(name, name.replace("-", "_"))
    if setting not in known:
        raise SettingError(f"`sweep` cannot vary {name!r}: one of {', '.join(known)}, or lr for learning_rate")
    return setting


def runs_of_sweep(given: Mapping[str, Any], sweep: Mapping[str, Sequence[str]]) -> dict[str, TuneSettings]:
    """Every combination, by a name such as `lr=0.01,seed=0`, each in a folder of its name in `output`.

    Raises:
        SettingError: a value that cannot be, or one that is there twice.
    """
    short = {setting: name for name, setting in ALIASES.items()}
    runs: dict[str, TuneSettings] = {}
    for values in itertools.product(*sweep.values()):
        chosen = dict(zip(sweep, values, strict=True))
        name = ",".join(f"{short.get(key, key).replace('_', '-')}={value}" for key, value in chosen.items())
        _add(runs, name, {**given, **chosen})
    return runs


def runs_of_tasks(given: Mapping[str, Any], file: Path, typed: Mapping[str, Any]) -> dict[str, TuneSettings]:
    """A run for each table `[tasks.NAME]` of a TOML file; what stands above them holds for all.

    Args:
        given: what holds where the file says nothing.
        file: the file.
        typed: what holds whatever the file says.

    Raises:
        DataError: there is no such file, it is no TOML, or two tasks have one name.
        SettingError: no tasks, or a setting that cannot be.
    """
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"no file {file}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        twice = re.search(r"Cannot declare \('tasks', '([^']*)'\) twice", str(error))
        what = f"two tasks are named {twice[1]!r}" if twice else f"it is not TOML: {error}"
        raise DataError(f"{file}: {what}") from error
    tasks = content.pop("tasks", None)
    if not isinstance(tasks, dict) or not tasks or not all(isinstance(each, dict) for each in tasks.values()):
        raise SettingError(f"{file} names no tasks: write a table [tasks.NAME] for each")
    runs: dict[str, TuneSettings] = {}
    for name, own in tasks.items():
        if wrong := [key for key in own if key.replace("-", "_") in SHARED]:
            raise SettingError(f"{file}: {wrong[0]} of [tasks.{name}] is the same for all tasks: write it above them")
        _add(runs, name, {**given, **_named(content), **_named(own), **typed})
    return runs


def _named(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in table.items()}


def _folder(name: str) -> str:
    folder = re.sub(r"[^\w=,.+-]", "-", name)
    if len(folder) > LONGEST_NAME:
        folder = f"{folder[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    if not folder.strip(".") or folder.endswith(".run"):
        raise SettingError(f"a run cannot be named {name!r}: each gets a folder of its name, and NAME.run beside it")
    return folder


def _add(runs: dict[str, TuneSettings], name: str, given: Mapping[str, Any]) -> None:
    if "output" not in given:
        raise SettingError("`output` is missing: the folder in which each run gets one of its own")
    folder = _folder(name)
    settings = TuneSettings.of({**given, "output": Path(given["output"]) / folder})
    if any(settings.output == other.output for other in runs.values()):
        raise SettingError(f"two runs would be named {folder}")
    runs[name] = settings
