"""The errors that a user can fix, each with a message that says how.

    SoftPromptError                     exit code 2: the user can fix the cause
    ├── SettingError                    invalid value of an option: unknown method, P = 0, a negative rate
    ├── DataError                       missing, empty or unreadable data file
    │   └── RecordError                 invalid record of a data file, named by file and line
    ├── TaskError                       template, labels, verbalizer and data do not fit together
    ├── ModelError                      unusable base model
    │   ├── ModelNotFound               no such folder, no such name on the Hub, bundled model not installed
    │   ├── ModelNotSupported           unsupported model family, whose results would be wrong
    │   └── IncompleteModel             weights that are missing or do not match the configuration
    ├── HubError                        failed request to the Hugging Face Hub
    │   ├── HubUnreachable              no connection, and the requested files are not in the cache
    │   ├── HubRequestRejected          not logged in, not permitted, or invalid for the Hub
    │   └── RepositoryNotFound          no such repository or revision that this account can see
    ├── SavedPromptError                unusable saved prompt
    │   ├── NotASavedPrompt             missing folder, or a folder with other contents
    │   ├── CorruptPrompt               truncated or modified files, wrong shapes, NaN
    │   ├── UnsupportedPromptFormat     manifest written by a later softprompt
    │   ├── BaseModelMismatch           prompt of another base model
    │   ├── PeftExportError             prompt that peft's format cannot express
    │   └── NonFiniteOutput             vectors so large that the model's output is not finite
    ├── StoreError                      prompt registry that is missing, damaged, or locked for too long
    │   ├── UnsupportedStoreFormat      registry made by a later softprompt
    │   ├── PromptNotFound              no such prompt, version or alias that this tenant can see
    │   ├── ApiKeyNotFound              no such API key
    │   ├── NoPreviousVersion           alias without an earlier version to roll back to
    │   ├── PromptInUse                 version that cannot be removed because an alias points to it
    │   └── StorageLimitExceeded        more bytes than a tenant's prompts may have
    ├── ModelApiError                   remote LM API that failed or gave an invalid response
    ├── ClusterError                    Ray cluster that is unreachable, or loses a run's worker repeatedly
    ├── OutputExists                    output folder that exists already
    ├── DiskFull                        no space to write; existing files are intact
    ├── CheckpointError                 run that cannot be resumed with these settings
    └── TrainingDiverged                loss that is not a number; the best prompt so far was saved

Any other exception is a bug in softprompt, and the command line exits with 1.
"""

from __future__ import annotations

import copyreg
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Raised = TypeVar("Raised", bound="SoftPromptError")


class SoftPromptError(Exception):
    """Base class of the errors that a user can fix. The message says how."""

    def with_message(self: Raised, message: str) -> Raised:
        """Return an error of the same class, with the same attributes and another message."""
        error = type(self).__new__(type(self), message)  # `__init__` of a subclass may take other arguments
        vars(error).update(vars(self))
        return error


class SettingError(SoftPromptError):
    """Invalid value of an option or argument."""


class DataError(SoftPromptError):
    """Missing, empty or unreadable data file."""


class RecordError(DataError):
    """Invalid record of a data file; `location` names the file and the line."""

    def __init__(self, location: str, problem: str):
        super().__init__(f"{location}: {problem}")
        self.location = location

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the message when pickled; by default the error would be built from its message alone."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class TaskError(SoftPromptError):
    """Template, labels and verbalizer that do not fit each other or the data."""


class ModelError(SoftPromptError):
    """Base model that cannot be used."""


class ModelNotFound(ModelError):
    """Base model that does not exist at the given name or path."""


class ModelNotSupported(ModelError):
    """Base model of an unsupported family, whose results would be wrong."""


class IncompleteModel(ModelError):
    """Base model whose files lack weights or do not match the configuration."""


class HubError(SoftPromptError):
    """Failed request to the Hugging Face Hub."""


class HubUnreachable(HubError):
    """Hub that cannot be reached while the cache lacks the requested files."""


class HubRequestRejected(HubError):
    """Request that the Hub rejects: not permitted or invalid."""


class RepositoryNotFound(HubError):
    """Repository or revision that does not exist or is hidden from this account."""


class SavedPromptError(SoftPromptError):
    """Saved prompt that cannot be used."""


class NotASavedPrompt(SavedPromptError):
    """Folder that is missing or holds no saved prompt."""


class CorruptPrompt(SavedPromptError):
    """Saved prompt whose files differ from those that were written."""


class UnsupportedPromptFormat(SavedPromptError):
    """Saved prompt whose manifest has a newer format than this softprompt reads."""


class BaseModelMismatch(SavedPromptError):
    """Saved prompt that belongs to another base model."""


class PeftExportError(SavedPromptError):
    """Saved prompt that peft's format cannot express."""


class NonFiniteOutput(SavedPromptError):
    """Saved prompt whose vectors are so large that the model's output is not finite."""


class StoreError(SoftPromptError):
    """Prompt registry that cannot do what was requested."""


class UnsupportedStoreFormat(StoreError):
    """Prompt registry made by a newer softprompt."""


class PromptNotFound(StoreError):
    """Prompt, version or alias that the tenant does not have."""


class ApiKeyNotFound(StoreError):
    """API key that the registry does not have."""


class NoPreviousVersion(StoreError):
    """Alias that cannot be rolled back because it has no previous version."""


class PromptInUse(StoreError):
    """Prompt version that cannot be removed because an alias points to it."""


class StorageLimitExceeded(StoreError):
    """Prompt that would take a tenant beyond its storage limit."""


class ModelApiError(SoftPromptError):
    """Remote LM API that failed or gave an invalid response."""


class ClusterError(SoftPromptError):
    """Ray cluster that is unreachable or lost a run's worker repeatedly."""


class OutputExists(SoftPromptError):
    """Output folder that exists already."""


class DiskFull(SoftPromptError):
    """Full disk; existing files are intact."""


class CheckpointError(SoftPromptError):
    """Run that cannot be resumed with these settings."""


class TrainingDiverged(SoftPromptError):
    """Loss that became NaN or infinite; the best prompt so far was saved."""


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn OS errors about writing below `path` into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left for {path}: free some space and run again; existing files are intact"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SettingError(f"{path} cannot be written ({error.strerror}): choose another folder") from error
        raise


def summarize_error(error: BaseException) -> str:
    """Return the first line of another library's error, for use inside a message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def is_out_of_memory_error(error: BaseException) -> bool:
    """Whether an error says that RAM or accelerator memory is exhausted."""
    message = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in message or "out of memory" in message.lower()
