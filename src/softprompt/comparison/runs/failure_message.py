"""Describes errors for the report."""

from __future__ import annotations

from softprompt.errors import SoftPromptError, is_out_of_memory_error


def describe_failure(error: BaseException) -> str:
    """Return the message of an error for the report."""
    if isinstance(error, SoftPromptError):
        return str(error)
    if is_out_of_memory_error(error):
        return "ran out of memory: reduce `batch_size`, or choose a method that trains fewer parameters"
    return f"{type(error).__name__}: {error}"
