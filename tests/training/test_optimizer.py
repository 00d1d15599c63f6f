"""AdamW, its schedule, and its state."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from softprompt.model import Placement
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.prompt_tuning import PromptTuning
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.prompt_trainable import PromptTrainable


def prompt() -> PromptTuning:
    return PromptTuning(InitialValue(torch.zeros(2, 3), "zeros"), Placement.BEFORE)


def make_optimizer(trainable_prompt: PromptTuning, steps: int = 100, clip: float = 1.0) -> ScheduledOptimizer:
    return ScheduledOptimizer(
        PromptTrainable(trainable_prompt),
        0.1,
        total_steps=steps,
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=clip,
    )


def test_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [make_optimizer(prompt()).get_learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_finite_learning_rates(steps: int) -> None:
    rates = [make_optimizer(prompt(), steps).get_learning_rate(step) for step in range(steps)]
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)
    assert rates[0] > 0


def test_reported_gradient_norm_is_measured_before_clipping() -> None:
    trainable_prompt = prompt()
    trainable_prompt.embeddings.grad = torch.full((2, 3), 10.0)
    assert make_optimizer(trainable_prompt).apply_gradients(0, loss=1000.0).gradient_norm == pytest.approx(
        10 * math.sqrt(6), rel=1e-4
    )
    assert trainable_prompt.embeddings.grad is None


def measure_change(trainable_prompt: PromptTuning, update: Callable[[], object]) -> torch.Tensor:
    before = trainable_prompt.embeddings.detach().clone()
    update()
    return trainable_prompt.embeddings.detach() - before


@pytest.mark.parametrize("clip", [0.1, 1.0, 1e9])
@pytest.mark.parametrize("steps_before", [0, 1, 5])
def test_step_is_shortened_to_a_predicted_decrease_of_half_the_loss(clip: float, steps_before: int) -> None:
    trainable_prompt = prompt()
    optimizer = make_optimizer(trainable_prompt, steps=10, clip=clip)
    gradients = torch.randn(steps_before + 1, 2, 3, generator=torch.Generator().manual_seed(0))
    for step, gradient in enumerate(gradients[:-1]):
        trainable_prompt.embeddings.grad = gradient.clone()
        optimizer.apply_gradients(step, loss=1000.0)
    trainable_prompt.embeddings.grad = gradients[-1].clone()
    change = measure_change(trainable_prompt, lambda: optimizer.apply_gradients(steps_before, loss=0.01))
    assert float((gradients[-1] * change).sum()) == pytest.approx(-0.005, rel=1e-4)


def test_step_that_is_not_shortened_equals_adamw() -> None:
    trainable_prompt = prompt()
    gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    trainable_prompt.embeddings.grad = gradient.clone()
    change = measure_change(trainable_prompt, lambda: make_optimizer(trainable_prompt).apply_gradients(0, loss=1000.0))
    assert change == pytest.approx(-0.01 * gradient.sign(), rel=1e-5)


def test_restored_optimizer_continues_identically() -> None:
    original, restored = prompt(), prompt()
    first, second = make_optimizer(original), make_optimizer(restored)
    gradients = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))
    for step, gradient in enumerate(gradients[:3]):
        original.embeddings.grad = gradient.clone()
        first.apply_gradients(step, loss=1.0)
    restored.load_state_dict(original.state_dict())
    second.load_state_dict(first.state_dict())
    for step, gradient in enumerate(gradients[3:], start=3):
        for trainable_prompt, optimizer in ((original, first), (restored, second)):
            trainable_prompt.embeddings.grad = gradient.clone()
            optimizer.apply_gradients(step, loss=1.0)
    assert torch.equal(original.embeddings, restored.embeddings)
