"""Composition of several saved prompts into one, such as a task's and a tenant's."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, compose_payloads
from softprompt.saved.manifest import is_distilled
from softprompt.saved.saved_prompt import SavedPrompt

logger = logging.getLogger(__name__)


def compose_prompts(model: FrozenModel, prompts: Sequence[SavedPrompt]) -> SavedPrompt:
    """Compose prompts into one whose virtual tokens follow each other, with the task and the head of the first prompt.

    Raises:
        SettingError: the payloads cannot be composed, or a prompt other than the first has a head.
        BaseModelMismatch: a prompt was made for another model.
    """
    if any(prompt.head is not None for prompt in prompts[1:]):
        raise SettingError(
            "only the first of several composed prompts may have a linear head, because the task of the first is kept"
        )
    if sum(is_distilled(prompt.manifest) for prompt in prompts) > 1:
        logger.warning(
            "prompts that were distilled apart do not add up, because each learned to be alone in front of the input "
            "(arXiv 2606.04557): evaluate the result, or distil the texts together"
        )
    for prompt in prompts:
        prompt.check_base_model(model)
    with torch.no_grad():
        payloads = [prompt.payload.with_tensor(prompt.payload.tensor.to(model.device)) for prompt in prompts]
        payload = compose_payloads(model, payloads)
    first = prompts[0]
    return SavedPrompt.from_payload(
        model,
        payload,
        first.manifest.task,
        method={"name": "composed", "of": [prompt.manifest.content_hash for prompt in prompts]},
        trained_parameters=sum(prompt.manifest.trained_parameters for prompt in prompts),
        head=first.build_linear_head(),
    )
