"""What a run keeps of itself while it goes on: the lines of its log, and a checkpoint to go on from."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from softprompt.errors import CheckpointError, DiskFull
from softprompt.training.checkpoint import Progress, read_checkpoint, read_run, write_checkpoint
from softprompt.training.learner import Learner
from softprompt.training.optimisation import Optimiser
from softprompt.training.run_folder import RunFolder
from softprompt.training.watching import Evaluated, Stepped


@runtime_checkable
class Record(Protocol):
    """Is told what happens, and remembers as much of it as it wants."""

    def resume(self, learner: Learner, optimiser: Optimiser) -> Progress:
        """Put both in the state that was kept last, and say how far that was."""

    def keep(self, progress: Progress, learner: Learner, optimiser: Optimiser) -> None:
        """Keep the state."""

    def log_step(self, event: Stepped) -> None:
        """An update was made."""

    def log_evaluation(self, event: Evaluated) -> None:
        """An evaluation was made."""


class FolderRecord:
    """Keeps everything in the run's folder, so that a killed run goes on from there.

    Args:
        folder: the run's.
        run: the run's hash, which its checkpoints have.
    """

    def __init__(self, folder: RunFolder, run: str):
        self.folder, self.run = folder, run
        self.log_step, self.log_evaluation = folder.log_step, folder.log_evaluation

    def resume(self, learner: Learner, optimiser: Optimiser) -> Progress:
        """From the checkpoint, if there is one; what was logged after it is forgotten.

        Raises:
            CheckpointError: it is damaged, of another run, or holds other parameters.
        """
        if not self.folder.checkpoint.is_file():
            self.folder.forget_after(0)
            return Progress()
        run = read_run(self.folder.checkpoint)
        progress, parameters, moments = read_checkpoint(self.folder.checkpoint)
        if run not in (None, self.run):
            raise CheckpointError(
                f"{self.folder.checkpoint} is of another run, with other settings, data or another base model: put "
                "this run's own checkpoint back, or start over with `overwrite=True`"
            )
        try:
            if progress.best is not None:
                learner.load_state_dict(progress.best.parameters)
            learner.load_state_dict(parameters)
            optimiser.restore(moments)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self.folder.checkpoint} holds other parameters than this prompt has, as that of another version of "
                "softprompt does: start over with `overwrite=True`"
            ) from error
        if run is None:
            raise CheckpointError(
                f"{self.folder.checkpoint} does not say which run it is of, as that of an earlier version of "
                "softprompt does not: start over with `overwrite=True`"
            )
        self.folder.forget_after(progress.step)
        return progress

    def keep(self, progress: Progress, learner: Learner, optimiser: Optimiser) -> None:
        """Write the checkpoint, whole or not at all.

        Raises:
            DiskFull: the one before is whole, and the run goes on from there.
        """
        try:
            write_checkpoint(self.folder.checkpoint, progress, learner.state_dict(), optimiser.state(), self.run)
        except DiskFull as error:
            raise DiskFull(f"{error}. The run goes on from its last checkpoint with `resume=True`") from error


class NoRecord:
    """Keeps nothing: a run that is short, or made again from its beginning."""

    def resume(self, learner: Learner, optimiser: Optimiser) -> Progress:  # noqa: ARG002
        """The beginning."""
        return Progress()

    def keep(self, progress: Progress, learner: Learner, optimiser: Optimiser) -> None:
        """Ignored."""

    def log_step(self, event: Stepped) -> None:
        """Ignored."""

    def log_evaluation(self, event: Evaluated) -> None:
        """Ignored."""
