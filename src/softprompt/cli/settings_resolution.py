"""Resolves the settings of a run: from the command line, a TOML file, and the run that is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from softprompt.errors import CheckpointError, DataError, SettingError

if TYPE_CHECKING:
    from softprompt.training.run_folder import RunFolder
    from softprompt.training.run_settings import RunSettings

    Settings = TypeVar("Settings", bound=RunSettings)

TRACKER_KEY = "report_to"  # a key of the TOML file that is no setting of a run


def resolve_settings(
    settings_class: type[Settings], options: dict[str, Any], config: Path | None, resume: bool
) -> Settings:
    """Resolve the settings of a run.

    Args:
        settings_class: class of the settings.
        options: settings from the command line, which override all others.
        config: TOML file with settings.
        resume: whether to start from the settings of the run to resume.

    Raises:
        SettingError: a setting is unknown or invalid, or `resume` lacks an output folder.
        CheckpointError: the run to resume has other settings.
    """
    from softprompt.training.run_folder import RunFolder
    from softprompt.training.run_settings import get_run_folder

    options = {**read_config_settings(settings_class, config), **options}
    if not resume:
        return settings_class.from_dict(options)
    if "output" not in options:
        raise SettingError("--resume needs --output: pass the output folder of the run")
    folder = RunFolder(get_run_folder(Path(options["output"])))
    previous = _read_previous_settings(settings_class, folder)
    settings = settings_class.from_dict({**previous.model_dump(), **options})
    if changed := [name for name in options if getattr(settings, name) != getattr(previous, name) and name != "output"]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise CheckpointError(
            f"the run started with other values of {names}: resume with its settings, or pass --overwrite"
        )
    return settings


def _read_previous_settings(settings_class: type[Settings], folder: RunFolder) -> Settings:
    """Return the settings of the run in a folder.

    Raises:
        SettingError: a setting is invalid.
        CheckpointError: there is no run, or another command wrote it.
    """
    from softprompt.training.renamed_settings import rename_settings

    stored = rename_settings(folder.read_metadata()["settings"])
    if unknown := sorted(stored.keys() - settings_class.model_fields.keys()):
        raise CheckpointError(
            f"{folder.path} holds a run of another command or version, whose settings are unknown here "
            f"({', '.join(unknown)}): resume it with that command, or pass --overwrite"
        )
    return settings_class.from_dict(stored)


def read_config_settings(settings_class: type[RunSettings], config: Path | None) -> dict[str, Any]:
    """Return the settings in a TOML file by their names in Python; empty without a file.

    Raises:
        DataError: the file is missing, or is not TOML.
        SettingError: there is no such setting.
    """
    content = _read_config_file(settings_class, config)
    return {name: value for name, value in content.items() if name != TRACKER_KEY}


def read_tracker_name(settings_class: type[RunSettings], config: Path | None) -> str | None:
    """Return the name of the tracker in a TOML file, if it has one.

    Raises:
        DataError, SettingError: as `read_config_settings`.
    """
    return _read_config_file(settings_class, config, quiet=True).get(TRACKER_KEY)


def _read_config_file(settings_class: type[RunSettings], config: Path | None, *, quiet: bool = False) -> dict[str, Any]:
    if config is None:
        return {}
    import tomllib

    from softprompt.training.renamed_settings import rename_settings

    try:
        content = tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"file not found: {config}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{config} is not valid TOML: {error}") from error
    values = {_normalize_setting_name(settings_class, name, config): value for name, value in content.items()}
    return rename_settings(values, _earlier_names(), quiet=quiet)


def _earlier_names() -> dict[str, str]:
    """Return the current name of each setting that a file of an earlier version may have under another name."""
    from softprompt.training.renamed_settings import RENAMED_SETTINGS

    return {**RENAMED_SETTINGS, "track": TRACKER_KEY}


def _normalize_setting_name(settings_class: type[RunSettings], name: str, config: Path) -> str:
    """Convert the name of a setting in a TOML file to its Python name.

    Raises:
        SettingError: there is no such setting.
    """
    known = [*settings_class.model_fields, TRACKER_KEY]
    if name.replace("-", "_") not in {*known, *_earlier_names()}:
        raise SettingError(f"{config}: unknown setting {name!r}: choose one of {', '.join(known).replace('_', '-')}")
    return name.replace("-", "_")
