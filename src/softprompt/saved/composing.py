"""Several saved prompts as one, such as a task's and a tenant's."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, compose
from softprompt.saved.saved_prompt import SavedPrompt


def composed(model: FrozenModel, prompts: Sequence[SavedPrompt]) -> SavedPrompt:
    """One prompt, in whose rows those given stand one behind the other; the first one's task, and its head, are kept.

    Raises:
        SettingError: they cannot stand in a row, or one behind the first has a head of its own.
        WrongBaseModel: one is for another model.
    """
    if any(prompt.head is not None for prompt in prompts[1:]):
        raise SettingError(
            "only the first of composed prompts can have a linear head: its task is the one that is kept"
        )
    for prompt in prompts:
        prompt.check_base(model)
    with torch.no_grad():
        each = [prompt.payload.with_tensor(prompt.payload.tensor.to(model.device)) for prompt in prompts]
        payload = compose(model, each)
    first = prompts[0]
    return SavedPrompt.make(
        model,
        payload,
        first.manifest.task,
        method={"name": "composed", "of": [prompt.manifest.content_hash for prompt in prompts]},
        trained_parameters=sum(prompt.manifest.trained_parameters for prompt in prompts),
        head=first.linear_head(),
    )
