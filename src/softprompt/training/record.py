"""What a run keeps of itself while it goes on: the lines of its log, and a checkpoint to go on from."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from softprompt.errors import CheckpointError
from softprompt.training.checkpoint import Progress, read_checkpoint, write_checkpoint
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
    """Keeps everything in the run's folder, so that a killed run goes on from there."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.log_step, self.log_evaluation = folder.log_step, folder.log_evaluation

    def resume(self, learner: Learner, optimiser: Optimiser) -> Progress:
        """From the checkpoint, if there is one; what was logged after it is forgotten.

        Raises:
            CheckpointError: it is damaged, or holds other parameters.
        """
        if not self.folder.checkpoint.is_file():
            self.folder.forget_after(0)
            return Progress()
        progress, parameters, moments = read_checkpoint(self.folder.checkpoint)
        try:
            learner.load_state_dict(parameters)
            optimiser.restore(moments)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self.folder.checkpoint} holds other parameters than this prompt has, as that of another version of "
                "softprompt does: start over with `overwrite=True`"
            ) from error
        self.folder.forget_after(progress.step)
        return progress

    def keep(self, progress: Progress, learner: Learner, optimiser: Optimiser) -> None:
        """Write the checkpoint, whole or not at all."""
        write_checkpoint(self.folder.checkpoint, progress, learner.state_dict(), optimiser.state())


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
