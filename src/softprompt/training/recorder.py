"""Run recorders, which write a run's log and checkpoints, and load the last checkpoint."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from softprompt.errors import CheckpointError, DiskFull
from softprompt.training.callbacks import EvalEvent, StepEvent
from softprompt.training.checkpoint import TrainerState, read_checkpoint, read_run_hash, write_checkpoint
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.run_folder import RunFolder
from softprompt.training.trainable import Trainable


@runtime_checkable
class RunRecorder(Protocol):
    """Interface of recorders of a run's log and checkpoints."""

    def load_checkpoint(self, trainable: Trainable, optimizer: ScheduledOptimizer) -> TrainerState:
        """Restore the trainable and the optimizer from the last checkpoint, and return the state of the run."""

    def save_checkpoint(self, state: TrainerState, trainable: Trainable, optimizer: ScheduledOptimizer) -> None:
        """Save the state of the run."""

    def log_step(self, event: StepEvent) -> None:
        """Log an optimizer step."""

    def log_evaluation(self, event: EvalEvent) -> None:
        """Log an evaluation."""


class FolderRecorder:
    """Recorder that writes to the run folder, from which a killed run continues.

    Args:
        run_folder: Folder of the run.
        run_hash: Hash of the run, which its checkpoints hold.
    """

    def __init__(self, run_folder: RunFolder, run_hash: str):
        self.run_folder, self.run_hash = run_folder, run_hash

    def log_step(self, event: StepEvent) -> None:
        """Append a line to metrics.jsonl."""
        self.run_folder.log_step(event)

    def log_evaluation(self, event: EvalEvent) -> None:
        """Append a line to metrics.jsonl."""
        self.run_folder.log_evaluation(event)

    def load_checkpoint(self, trainable: Trainable, optimizer: ScheduledOptimizer) -> TrainerState:
        """Restore the state from the checkpoint if there is one, and drop the log lines after it.

        Raises:
            CheckpointError: If the checkpoint is damaged, is from another run, or holds other parameters.
        """
        file = self.run_folder.checkpoint_file
        if not file.is_file():
            self.run_folder.truncate_log(0)
            return TrainerState()
        run_hash = read_run_hash(file)
        state, parameters, optimizer_state = read_checkpoint(file)
        if run_hash not in (None, self.run_hash):
            raise CheckpointError(
                f"{file} is from another run, with other settings, data or another base model: restore this run's own "
                "checkpoint, or start over with `overwrite=True`"
            )
        try:
            if state.best is not None:
                trainable.load_state_dict(state.best.parameters)
            trainable.load_state_dict(parameters)
            optimizer.load_state_dict(optimizer_state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{file} holds other parameters than this prompt has, as from another version of softprompt: start "
                "over with `overwrite=True`"
            ) from error
        if run_hash is None:
            raise CheckpointError(
                f"{file} does not name the run that wrote it, as checkpoints of an earlier version do not: start "
                "over with `overwrite=True`"
            )
        self.run_folder.truncate_log(state.step)
        return state

    def save_checkpoint(self, state: TrainerState, trainable: Trainable, optimizer: ScheduledOptimizer) -> None:
        """Write the checkpoint atomically.

        Raises:
            DiskFull: If the disk is full; the run can continue from the checkpoint before, which is unchanged.
        """
        try:
            write_checkpoint(
                self.run_folder.checkpoint_file, state, trainable.state_dict(), optimizer.state_dict(), self.run_hash
            )
        except DiskFull as error:
            raise DiskFull(f"{error}. Continue from the last checkpoint with `resume=True`") from error


class NullRecorder:
    """Recorder that keeps nothing, for runs that are short or repeated from the beginning."""

    def load_checkpoint(self, trainable: Trainable, optimizer: ScheduledOptimizer) -> TrainerState:  # noqa: ARG002
        """Return the initial state."""
        return TrainerState()

    def save_checkpoint(self, state: TrainerState, trainable: Trainable, optimizer: ScheduledOptimizer) -> None:
        """Do nothing."""

    def log_step(self, event: StepEvent) -> None:
        """Do nothing."""

    def log_evaluation(self, event: EvalEvent) -> None:
        """Do nothing."""
