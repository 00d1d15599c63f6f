"""Whether a folder may be written as a saved prompt: it is new, or holds nothing but what softprompt wrote itself."""

from __future__ import annotations

from pathlib import Path

from softprompt.errors import OutputExists, disk_errors
from softprompt.saved.own_files import find_foreign_files, join_names


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse a place that is taken.

    Args:
        folder: where a prompt is to be.
        overwrite: a prompt, a peft adapter or an embedded text that softprompt wrote there may be replaced.

    Raises:
        OutputExists: unless it may be overwritten and holds only files of softprompt's own; the others are named.
        SettingError: it cannot be read.
    """
    if not folder.exists():
        return
    if not overwrite:
        raise OutputExists(f"{folder} exists: choose another folder, or replace it with `overwrite=True`")
    if not folder.is_dir():
        raise OutputExists(f"{folder} exists and is no saved prompt, so it is not overwritten: choose another folder")
    with disk_errors(folder):
        foreign = find_foreign_files(folder)
        if not foreign:
            return
        what = "" if len(foreign) < len(list(folder.iterdir())) else "exists and is no saved prompt, so it "
    raise OutputExists(
        f"{folder} {what}is not overwritten: softprompt did not write {join_names(foreign)} there, or not as it is "
        "now. Move that away, or choose another folder"
    )
