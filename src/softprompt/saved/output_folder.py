"""Check of output folders: a saved prompt may only be written to a new folder, or over files of softprompt."""

from __future__ import annotations

from pathlib import Path

from softprompt.errors import OutputExists, translate_os_errors
from softprompt.saved.foreign_files import find_foreign_files, join_names


def check_output_free(folder: Path, overwrite: bool) -> None:
    """Check that a saved prompt may be written to a folder.

    Args:
        folder: path of the output folder.
        overwrite: allow replacing a prompt, a peft adapter or prompt embeddings that softprompt wrote.

    Raises:
        OutputExists: the folder exists, and `overwrite` is False or it contains files that softprompt did not write.
        SettingError: the folder cannot be read.
    """
    if not folder.exists():
        return
    if not overwrite:
        raise OutputExists(f"{folder} exists: choose another folder, or replace it with `overwrite=True`")
    if not folder.is_dir():
        raise OutputExists(
            f"{folder} exists and is not a saved prompt, so it is not overwritten: choose another folder"
        )
    with translate_os_errors(folder):
        foreign = find_foreign_files(folder)
        if not foreign:
            return
        subject = "" if len(foreign) < len(list(folder.iterdir())) else "exists and is not a saved prompt, so it "
    raise OutputExists(
        f"{folder} {subject}is not overwritten: softprompt did not write {join_names(foreign)}, or the content was "
        "changed. Move it away, or choose another folder"
    )
