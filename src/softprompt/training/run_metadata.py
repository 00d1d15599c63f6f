"""The content of run.json: what a run depends on, and what a resumed run must have unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import CheckpointError
from softprompt.model import FrozenModel
from softprompt.training.renamed_settings import rename_settings
from softprompt.training.run_folder import RunFolder
from softprompt.training.run_settings import RunSettings


def collect_run_metadata(
    settings: RunSettings, model: FrozenModel, digests: Mapping[str, str], learning_rate: float, start: str
) -> dict[str, Any]:
    """Collect the content of run.json.

    Args:
        settings: Settings of the run.
        model: Base model.
        digests: Hash of the content of each data source, by the name of its setting.
        learning_rate: Learning rate at the end of the warm-up.
        start: Description of what the virtual tokens start from.
    """
    return {
        "settings": settings.model_dump(mode="json"),
        "data": {**digests, "base": model.fingerprint},
        "learning_rate": learning_rate,
        "start": start,
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
