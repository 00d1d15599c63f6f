"""The content of run.json: what a run depends on, and what a resumed run must have unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import CheckpointError
from softprompt.training.renamed_settings import rename_settings
from softprompt.training.run_folder import RunFolder
from softprompt.training.training_setup import TrainingSetup


def collect_run_metadata(setup: TrainingSetup, digests: Mapping[str, str]) -> dict[str, Any]:
    """Collect the content of run.json.

    Args:
        setup: Setup of the run.
        digests: Hash of the content of each data source, by the name of its setting.
    """
    return {
        "settings": setup.settings.model_dump(mode="json"),
        "data": {**digests, "base": setup.model.fingerprint},
        "learning_rate": setup.peak_learning_rate,
        "start": setup.init_description,
    }


def check_same_run(run_folder: RunFolder, run_metadata: Mapping[str, Any]) -> None:
    """Check that a run has the settings, data and base model of the run that began in a folder, except for the output.

    Args:
        run_folder: Folder of the run to resume.
        run_metadata: Content of run.json as a new run would write it.

    Raises:
        CheckpointError: If something differs, or there is no run in the folder.
    """
    before = run_folder.read_metadata()
    before["settings"] = rename_settings(before["settings"], quiet=True)
    for part in ("settings", "data"):
        now = run_metadata[part]
        known = before[part] if part == "settings" else now  # earlier versions had fewer settings
        changed = [key for key in now if key in known and now[key] != before[part].get(key) and key != "output"]
        if changed:
            changes = ", ".join(f"{_format_setting_name(part, key)} (was {before[part].get(key)})" for key in changed)
            raise CheckpointError(
                f"the run in {run_folder.path} began with other {part}: {changes}. Resume it unchanged, "
                "or start over with `overwrite=True`"
            )


def _format_setting_name(part: str, key: str) -> str:
    """Format the name of a setting; some keys of the data are not settings."""
    return f"`{key}`" if part == "settings" else key
