"""Binding of the tasks of prompts (templates, labels, label scorers) to the base model, without running the model.

The cost depends on untrusted content, so binding happens in a thread and with a tokenizer of its own, and tenants take
turns.
"""

from __future__ import annotations

from functools import partial

from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.server.backends.loaded_prompt import UNLIMITED_LENGTH
from softprompt.server.concurrency.fair_executor import FairExecutor
from softprompt.server.private_tokenizer import with_private_tokenizer
from softprompt.tasks import Objective


class TaskBinder:
    """A binder of tasks that runs in one thread.

    Args:
        model: base model of the server.
    """

    def __init__(self, model: FrozenModel):
        self._model, self._tokenizer_model = model, with_private_tokenizer(model)
        self._executor = FairExecutor("prompts")

    async def bind_task(self, prompt: SavedPrompt, tenant: str) -> Objective:
        """Bind the task of a prompt to the base model.

        Raises:
            QueueFull: too many jobs are waiting.
            BaseModelMismatch: the prompt is for another base model.
            TaskError: the base model does not support the task.
        """
        return await self._executor.run_in_thread(tenant, partial(self._bind_task, prompt))

    def close(self) -> None:
        """Stop the thread."""
        self._executor.close()

    def _bind_task(self, prompt: SavedPrompt) -> Objective:
        prompt.check_base_model(self._model)
        head = prompt.build_linear_head()
        objective = prompt.manifest.task.build_objective(
            self._tokenizer_model, UNLIMITED_LENGTH, None if head is None else head.to(self._model.device)
        )
        return objective.with_model(self._model)
