"""A prompt that is ready to be used: its task on the model, and what rows stand behind."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.model import Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import Objective, Task

OBJECTS = 16 * 2**10  # bytes that a prompt takes beside its numbers, about
CHARACTER = 64  # bytes that a character of a label takes with what is built of it, at most about
ROOM = 2**31  # positions: texts are never cut here, but refused


@dataclass(frozen=True, eq=False)
class Shelved:
    """A prompt that is ready.

    Attributes:
        content: the hash of its content.
        task: what it was trained to do.
        payload: it, compiled.
        objective: its task on the model.
        size: bytes of RAM.
    """

    content: str
    task: Task
    payload: Payload
    objective: Objective
    size: int

    @classmethod
    def from_parts(cls, prompt: SavedPrompt, payload: Payload, objective: Objective) -> Shelved:
        """A saved prompt with its payload compiled and its task on the model."""
        numbers = [payload.tensor, *(prompt.head or {}).values()]
        size = OBJECTS + sum(each.numel() * each.element_size() for each in numbers if not each.is_meta)
        size += sum(CHARACTER * len(label) for label in prompt.manifest.task.labels)
        return cls(prompt.manifest.content_hash, prompt.manifest.task, payload, objective, size)
