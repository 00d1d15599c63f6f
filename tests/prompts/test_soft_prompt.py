"""Soft prompts of all methods: every parameter trains, and is in one group."""

from __future__ import annotations

import pytest
import torch

from softprompt.prompts import build_prompt
from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget
from softprompt.training.prompt_trainable import PromptTrainable
from tests import strategies
from tests.prompts.factories import LABELS, P, build_tiny_prompt
from tests.tiny import FAMILIES, shared_model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "encoder"), strategies.METHODS)
def test_every_parameter_has_a_gradient_in_the_second_step(family: str, method: str, encoder: str) -> None:
    """Checked in the second step: a layer that starts at zero blocks the gradient of earlier layers in the first."""
    model = shared_model(family)
    prompt, _ = build_prompt(strategies.options(method, P, encoder=encoder), model, "a film", LABELS)
    objective = ClassificationTask(labels=LABELS).build_objective(model, 100, prompt.head)
    examples = [
        EncodedExample([5 + i, 9, 77, 300], LabelTarget(i % 3), task_index=i % max(1, len(prompt.task_names)))
        for i in range(6)
    ]
    optimizer = torch.optim.SGD(prompt.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        PromptTrainable(prompt).accumulate_gradients(objective, examples, 6)
        optimizer.step()
    for name, parameter in prompt.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_param_groups_contain_every_parameter_once() -> None:
    for method, encoder in strategies.METHODS:
        prompt = build_tiny_prompt(method, encoder)
        grouped = [id(p) for parameters, _ in prompt.param_groups() for p in parameters]
        assert sorted(grouped) == sorted(id(p) for p in prompt.parameters())
