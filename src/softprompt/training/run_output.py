"""Check that a run may write its prompt and its run folder."""

from __future__ import annotations

from softprompt.errors import OutputExists
from softprompt.saved.output_folder import check_output_free
from softprompt.training.run_folder import RunFolder
from softprompt.training.run_settings import RunSettings


def check_run_output(settings: RunSettings, run_folder: RunFolder, *, resume: bool, overwrite: bool) -> None:
    """Check that the output of a run is free, and that its folder holds no unfinished run.

    Args:
        settings: Settings of the run.
        run_folder: Folder of the run's own files.
        resume: Whether the run continues from its folder.
        overwrite: Whether an existing prompt or run may be replaced.

    Raises:
        OutputExists: If a prompt or an unfinished run exists, and neither `resume` nor `overwrite` is set, or existing
            files were not written by a run.
    """
    check_output_free(settings.output, overwrite or resume)
    if not resume:
        run_folder.check_overwritable()
    unfinished = run_folder.settings_file.is_file() and not settings.output.exists()
    if unfinished and not (resume or overwrite):
        raise OutputExists(
            f"{run_folder.path} holds an unfinished run: continue with `resume=True`, or start over with "
            "`overwrite=True`"
        )
