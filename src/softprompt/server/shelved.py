"""A prompt that is ready to be used: its task on the model, and what rows stand behind."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import Objective, Task

OBJECTS = 16 * 2**10  # bytes that a prompt takes beside its numbers, about
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
    def bind(cls, prompt: SavedPrompt, model: FrozenModel) -> Shelved:
        """Make a prompt ready; the model runs at most once."""
        payload, head = prompt.bound(model), prompt.linear_head()
        objective = prompt.manifest.task.bind(model, ROOM, None if head is None else head.to(model.device))
        numbers = [payload.tensor, *(prompt.head or {}).values()]
        size = OBJECTS + sum(each.numel() * each.element_size() for each in numbers if not each.is_meta)
        return cls(prompt.manifest.content_hash, prompt.manifest.task, payload, objective, size)
