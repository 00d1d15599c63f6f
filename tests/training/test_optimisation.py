"""AdamW, its schedule, and its state."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from softprompt.model import Placement
from softprompt.prompts.initial import Start
from softprompt.prompts.prompt_tuning import PromptTuning
from softprompt.training.gradients import PromptLearner
from softprompt.training.optimisation import Optimiser


def prompt() -> PromptTuning:
    return PromptTuning(Start(torch.zeros(2, 3), "zeros"), Placement.BEFORE)


def optimiser(of: PromptTuning, steps: int = 100, clip: float = 1.0) -> Optimiser:
    return Optimiser(PromptLearner(of), 0.1, steps=steps, warmup=0.1, weight_decay=0.0, clip=clip)


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [optimiser(prompt()).rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_rates_too(steps: int) -> None:
    rates = [optimiser(prompt(), steps).rate(step) for step in range(steps)]
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)
    assert rates[0] > 0


def test_the_norm_is_of_before_the_clipping() -> None:
    of = prompt()
    of.embeddings.grad = torch.full((2, 3), 10.0)
    assert optimiser(of).update(0, loss=1000.0).gradient_norm == pytest.approx(10 * math.sqrt(6), rel=1e-4)
    assert of.embeddings.grad is None


def change_of(of: PromptTuning, update: Callable[[], object]) -> torch.Tensor:
    before = of.embeddings.detach().clone()
    update()
    return of.embeddings.detach() - before


@pytest.mark.parametrize("clip", [0.1, 1.0, 1e9])
@pytest.mark.parametrize("steps_before", [0, 1, 5])
def test_a_step_is_shortened_to_where_its_gradients_predict_half_of_the_loss(clip: float, steps_before: int) -> None:
    of = prompt()
    how = optimiser(of, steps=10, clip=clip)
    gradients = torch.randn(steps_before + 1, 2, 3, generator=torch.Generator().manual_seed(0))
    for step, gradient in enumerate(gradients[:-1]):
        of.embeddings.grad = gradient.clone()
        how.update(step, loss=1000.0)
    of.embeddings.grad = gradients[-1].clone()
    change = change_of(of, lambda: how.update(steps_before, loss=0.01))
    assert float((gradients[-1] * change).sum()) == pytest.approx(-0.005, rel=1e-4)


def test_a_step_that_its_gradients_support_is_adamws() -> None:
    of = prompt()
    gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    of.embeddings.grad = gradient.clone()
    change = change_of(of, lambda: optimiser(of).update(0, loss=1000.0))
    assert change == pytest.approx(-0.01 * gradient.sign(), rel=1e-5)


def test_a_restored_optimiser_goes_on_as_the_other_would() -> None:
    one, other = prompt(), prompt()
    first, second = optimiser(one), optimiser(other)
    gradients = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))
    for step, gradient in enumerate(gradients[:3]):
        one.embeddings.grad = gradient.clone()
        first.update(step, loss=1.0)
    other.load_state_dict(one.state_dict())
    second.restore(first.state())
    for step, gradient in enumerate(gradients[3:], start=3):
        for of, how in ((one, first), (other, second)):
            of.embeddings.grad = gradient.clone()
            how.update(step, loss=1.0)
    assert torch.equal(one.embeddings, other.embeddings)
