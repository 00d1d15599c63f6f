"""Why something failed, in a sentence for the report."""

from __future__ import annotations

from softprompt.errors import SoftPromptError, is_out_of_memory


def reason(error: BaseException) -> str:
    """What is said of an error."""
    if isinstance(error, SoftPromptError):
        return str(error)
    if is_out_of_memory(error):
        return "ran out of memory: a smaller `batch_size` needs less, and so do ways that train fewer numbers"
    return f"{type(error).__name__}: {error}"
