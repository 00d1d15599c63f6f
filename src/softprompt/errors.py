"""Every error that a user can meet, each saying what to do.

    SoftPromptError                     exit code 2: the user can mend it
    ├── SettingError                    an option's value: unknown method, P = 0, a rate below zero
    ├── DataError                       a data file: missing, empty, not readable
    │   └── RowError                    one row of it, named by file and line
    ├── TaskError                       template, labels and verbalizer do not fit together, or not the data
    ├── ModelError                      the base model
    │   ├── ModelNotFound               no such folder, no such name on the Hub, embedded model not installed
    │   ├── ModelNotSupported           a family that would be answered wrongly, so it is not answered
    │   └── IncompleteModel             its files lack weights, or they are not those of its configuration
    ├── HubError                        the Hugging Face Hub
    │   ├── NoNetwork                   it is out of reach, and what it was asked for is not in the cache
    │   ├── HubRefused                  not logged in, not allowed, or not as the Hub wants it
    │   └── RepositoryNotFound          no such repository or revision, as far as this account can see
    ├── SavedPromptError                a saved prompt
    │   ├── NotASavedPrompt             the folder is missing, or holds something else
    │   ├── DamagedPrompt               truncated, tampered with, wrong shapes, NaN inside
    │   ├── NewerPrompt                 its manifest was written by a later softprompt
    │   ├── WrongBaseModel              it was trained on another base model
    │   ├── NotExpressible              peft cannot say what this prompt says
    │   └── OverflowingPrompt           its numbers are so large that the model's are not finite behind it
    ├── StoreError                      a prompt store: none there, damaged, or busy for too long
    │   ├── NewerStore                  a later softprompt made it
    │   ├── UnknownPrompt               no such prompt, version or alias, as far as this tenant can see
    │   ├── UnknownKey                  no such key
    │   ├── NothingBefore               an alias that is to be rolled back never pointed to another version
    │   ├── PromptInUse                 what is to be removed has an alias that points to it
    │   └── StorageLimitExceeded        a tenant's prompts would have more bytes than they may
    ├── ApiFailed                       an API that was asked did not answer, or not as it should
    ├── ClusterFailed                   a Ray cluster cannot be reached, or loses a run's worker again and again
    ├── OutputExists                    the output folder is taken
    ├── DiskFull                        nothing could be written; what was there before is whole
    ├── CheckpointError                 a run that cannot be resumed as asked
    └── TrainingDiverged                the loss is not a number; the best prompt so far was kept

Anything else that is raised is our mistake, and the command line exits with 1.
"""

from __future__ import annotations

import copyreg
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class SoftPromptError(Exception):
    """The root: whatever a user can mend. The message says how."""


class SettingError(SoftPromptError):
    """An option or argument has a value that cannot work."""


class DataError(SoftPromptError):
    """A data file is missing, empty or unreadable."""


class RowError(DataError):
    """One row of a data file is wrong; `where` names the file and the line."""

    def __init__(self, where: str, problem: str):
        super().__init__(f"{where}: {problem}")
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        """As it stands, since a pickled error is otherwise made anew from its message alone."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class TaskError(SoftPromptError):
    """Template, labels and verbalizer do not fit together, or do not fit the data."""


class ModelError(SoftPromptError):
    """The base model cannot be used."""


class ModelNotFound(ModelError):
    """There is no such model."""


class ModelNotSupported(ModelError):
    """The model's family is not served, because it would be served wrongly."""


class IncompleteModel(ModelError):
    """The model's files lack weights that are asked for, or hold others than its configuration says."""


class HubError(SoftPromptError):
    """The Hugging Face Hub did not do what was asked."""


class NoNetwork(HubError):
    """The Hub cannot be reached and the cache does not hold what it was asked for."""


class HubRefused(HubError):
    """The Hub does not allow it, or not like this."""


class RepositoryNotFound(HubError):
    """There is no such repository or revision, or this account may not see it."""


class SavedPromptError(SoftPromptError):
    """A saved prompt cannot be used."""


class NotASavedPrompt(SavedPromptError):
    """The folder is missing or holds no saved prompt."""


class DamagedPrompt(SavedPromptError):
    """The files of a saved prompt are not those that were written."""


class NewerPrompt(SavedPromptError):
    """The manifest's format is newer than this softprompt."""


class WrongBaseModel(SavedPromptError):
    """The prompt belongs to another base model."""


class NotExpressible(SavedPromptError):
    """peft's format cannot express this prompt."""


class OverflowingPrompt(SavedPromptError):
    """The prompt's numbers are so large that what the model computes behind it is not finite."""


class StoreError(SoftPromptError):
    """A prompt store cannot be used as asked."""


class NewerStore(StoreError):
    """The store was made by a newer softprompt."""


class UnknownPrompt(StoreError):
    """The tenant has no such prompt, version or alias."""


class UnknownKey(StoreError):
    """The store has no such key."""


class NothingBefore(StoreError):
    """An alias cannot be rolled back, since there is nothing to go back to."""


class PromptInUse(StoreError):
    """An alias points to what is to be removed."""


class StorageLimitExceeded(StoreError):
    """A tenant's prompts would have more bytes than they may."""


class ApiFailed(SoftPromptError):
    """An API that was asked did not answer, or not as it should."""


class ClusterFailed(SoftPromptError):
    """A Ray cluster cannot be reached, or lost a run's worker again and again."""


class OutputExists(SoftPromptError):
    """The output folder is taken."""


class DiskFull(SoftPromptError):
    """The disk is full; what was there before is untouched."""


class CheckpointError(SoftPromptError):
    """A run cannot be resumed as asked."""


class TrainingDiverged(SoftPromptError):
    """The loss became NaN or infinite; the best prompt so far was kept."""


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `target` into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left for {target}: free some and run again; what was there is untouched"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SettingError(f"{target} cannot be written ({error.strerror}): choose another folder") from error
        raise


def first_line(error: BaseException) -> str:
    """What another library's error says first: a sentence of ours goes on with it."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, here or on an accelerator."""
    said = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said.lower()
