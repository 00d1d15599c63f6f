"""The processes that train one run: usually this one alone."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, load_model
from softprompt.training.callbacks import TrainerCallback
from softprompt.training.recorder import RunRecorder
from softprompt.training.run_settings import RunSettings
from softprompt.training.trainable import Trainable


class ProcessGroup(ABC):
    """Processes that train one run, and what each of them uses.

    Attributes:
        is_main_process: Whether this process writes files and logs.
    """

    is_main_process: bool

    @abstractmethod
    def wait_for_everyone(self) -> None:
        """Wait until all processes are here."""

    @abstractmethod
    def load_model(self, settings: RunSettings) -> FrozenModel:
        """Load the settings' model for this process."""

    @abstractmethod
    def wrap_trainable(self, trainable: Trainable) -> Trainable:
        """Return a trainable that computes this process's share of each batch."""

    @abstractmethod
    def wrap_recorder(self, recorder: RunRecorder) -> RunRecorder:
        """Return a recorder that writes in the main process only."""

    @abstractmethod
    def wrap_callback(self, callback: TrainerCallback) -> TrainerCallback:
        """Return a callback that is called in the main process only."""


class SingleProcess(ProcessGroup):
    """This process alone, which does everything itself."""

    is_main_process = True

    def wait_for_everyone(self) -> None:
        """Return at once."""

    def load_model(self, settings: RunSettings) -> FrozenModel:
        """See `ProcessGroup`."""
        return load_model(settings.model, device=settings.device, dtype=settings.dtype)

    def wrap_trainable(self, trainable: Trainable) -> Trainable:
        """Return the trainable itself."""
        return trainable

    def wrap_recorder(self, recorder: RunRecorder) -> RunRecorder:
        """Return the recorder itself."""
        return recorder

    def wrap_callback(self, callback: TrainerCallback) -> TrainerCallback:
        """Return the callback itself."""
        return callback


def is_distributed() -> bool:
    """Return whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def require_single_process(operation: str) -> None:
    """Check that this process is the only one.

    Args:
        operation: Name of the operation in the message.

    Raises:
        SettingError: If there are several processes.
    """
    if is_distributed():
        raise SettingError(f"{operation} runs in one process: start it without accelerate launch or torchrun")
