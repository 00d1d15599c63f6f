"""Puts the tasks of prompts on the model: templates, labels, how they are read. It runs no model.

What that costs is a function of what a stranger wrote, so it happens in a thread of its own, with a tokenizer of its
own, and tenants take turns.
"""

from __future__ import annotations

from functools import partial

from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.server.desk import apart
from softprompt.server.fair_thread import FairThread
from softprompt.server.shelved import ROOM
from softprompt.tasks import Objective


class Binder:
    """Binds prompts one after the other.

    Args:
        model: the server's.
    """

    def __init__(self, model: FrozenModel):
        self._model, self._reading = model, apart(model)
        self._thread = FairThread("prompts")

    async def bind_task(self, prompt: SavedPrompt, tenant: str) -> Objective:
        """A prompt's task on the model.

        Raises:
            Busy: too many wait.
            WrongBaseModel: the prompt is for another model.
            TaskError: its task cannot be put on this one.
        """
        return await self._thread.do(tenant, partial(self._bind, prompt))

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def _bind(self, prompt: SavedPrompt) -> Objective:
        prompt.check_base(self._model)
        head = prompt.linear_head()
        objective = prompt.manifest.task.bind(
            self._reading, ROOM, None if head is None else head.to(self._model.device)
        )
        objective.model = self._model
        return objective
