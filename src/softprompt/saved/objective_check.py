"""Check that a saved prompt is for the kind of task that a caller supports."""

from __future__ import annotations

from typing import TypeVar

from softprompt.errors import TaskError
from softprompt.model import FrozenModel, Payload
from softprompt.saved.saved_prompt import SavedPrompt
from softprompt.tasks import Objective
from softprompt.tasks.task import COMMAND_BY_TASK_KIND

ObjectiveT = TypeVar("ObjectiveT", bound=Objective)


def require_objective(
    prompt: SavedPrompt, model: FrozenModel, payload: Payload, objective_type: type[ObjectiveT], purpose: str
) -> ObjectiveT:
    """Build the objective of a prompt, which must be of a type.

    Args:
        prompt: the saved prompt.
        model: the base model.
        payload: payload that limits the length of the text.
        objective_type: class of the objective.
        purpose: what prompts with such an objective do, for the error message: "classify texts".

    Raises:
        TaskError: the prompt has another objective.
    """
    objective = prompt.build_objective(model, payload)
    if not isinstance(objective, objective_type):
        command = COMMAND_BY_TASK_KIND[prompt.manifest.task.kind]
        raise TaskError(f"this prompt does not {purpose}: use softprompt {command}")
    return objective
