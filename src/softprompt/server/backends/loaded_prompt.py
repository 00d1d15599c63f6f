"""A prompt in RAM: its compiled payload, and its task bound to the base model."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.model import Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import Objective, Task

OVERHEAD_BYTES = 16 * 2**10  # approximate bytes of a prompt without its tensors
BYTES_PER_LABEL_CHARACTER = 64  # approximate maximum of the bytes per label character, with the derived structures
UNLIMITED_LENGTH = 2**31  # texts are never truncated here, but rejected


@dataclass(frozen=True, eq=False)
class LoadedPrompt:
    """A loaded prompt.

    Attributes:
        digest: digest of the saved prompt.
        task: task that the prompt was trained for.
        payload: compiled payload.
        objective: task, bound to the base model.
        num_bytes: approximate bytes of RAM.
    """

    digest: str
    task: Task
    payload: Payload
    objective: Objective
    num_bytes: int

    @classmethod
    def from_saved_prompt(cls, prompt: SavedPrompt, payload: Payload, objective: Objective) -> LoadedPrompt:
        """Create a loaded prompt from a saved prompt, its compiled payload and its bound task."""
        tensors = [payload.tensor, *(prompt.head or {}).values()]
        num_bytes = OVERHEAD_BYTES
        num_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors if not tensor.is_meta)
        num_bytes += sum(BYTES_PER_LABEL_CHARACTER * len(label) for label in prompt.manifest.task.labels)
        return cls(prompt.manifest.content_hash, prompt.manifest.task, payload, objective, num_bytes)
