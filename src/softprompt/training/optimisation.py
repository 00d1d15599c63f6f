"""AdamW with warm-up, a cosine to zero, and bounds on the gradient's norm and on how far a step goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from softprompt.training.learner import Learner
from softprompt.training.settings import TuneSettings

# A run is a hundred steps, whose first gradients are many times its last: the usual 0.999 would remember them for ten
# times as long as the run lasts.
BETAS = (0.9, 0.95)

#: The share of its loss that a step may remove, as far as its gradients can tell.
MAX_DECREASE = 0.5


class Update(NamedTuple):
    """An update of a learner's parameters.

    Attributes:
        gradient_norm: before clipping.
        learning_rate: of the step as it was made: the schedule's, or less where the step was shortened.
    """

    gradient_norm: float
    learning_rate: float


class Optimiser:
    """Updates a learner's parameters.

    Attributes:
        peak: the rate at the end of the warm-up.
    """

    def __init__(self, learner: Learner, peak: float, steps: int, warmup: float, weight_decay: float, clip: float):
        self.peak, self.steps, self.clip = peak, steps, clip
        self.warmup_steps = max(1, round(steps * warmup))
        groups = learner.rates()
        self._multiples = [multiple for _, multiple in groups]
        self._parameters = [p for parameters, _ in groups for p in parameters]
        self._adamw = torch.optim.AdamW(
            [{"params": parameters} for parameters, _ in groups], betas=BETAS, weight_decay=weight_decay
        )

    @classmethod
    def of(cls, settings: TuneSettings, learner: Learner, peak: float) -> Optimiser:
        """One with the settings' schedule."""
        return cls(learner, peak, settings.steps, settings.warmup, settings.weight_decay, settings.clip)

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.peak * 0.5 * (1 + math.cos(math.pi * done))

    def update(self, step: int, loss: float) -> Update:
        """Apply the gradients of step `step` and clear them.

        The step is shortened where the gradients predict that it lowers the loss by more than `MAX_DECREASE` of it: so
        far they cannot be believed. Without this bound the first steps overshoot on a model for which the rate is too
        high. It is SPS_max (arXiv 2002.10542) of a step that AdamW has scaled.

        Args:
            step: counted from 0.
            loss: whose gradients these are.
        """
        for group, multiple in zip(self._adamw.param_groups, self._multiples, strict=True):
            group["lr"] = self.rate(step) * multiple
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self.clip))
        self._adamw.step()
        decrease = self._predict_decrease() * max(1.0, norm / self.clip)
        length = 1.0
        if decrease > MAX_DECREASE * loss:
            length = MAX_DECREASE * loss / decrease
            self._take_back(1 - length)
        self._adamw.zero_grad(set_to_none=True)
        return Update(norm, length * self.rate(step))

    def _predict_decrease(self) -> float:
        """By how much the last step lowers the loss, to first order: its product with the clipped gradients."""
        products = [(gradient * change).sum() for _, gradient, change in self._changes()]
        return float(torch.stack(products).sum()) if products else 0.0  # an accelerator is waited for once

    @torch.no_grad()
    def _take_back(self, share: float) -> None:
        """Undo a share of the last step."""
        for parameter, _, change in self._changes():
            parameter.add_(change, alpha=share)

    def _changes(self) -> Iterator[tuple[nn.Parameter, Tensor, Tensor]]:
        """Each parameter, its gradient, and what the last step took off it; weight decay is left out."""
        for group in self._adamw.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    yield (
                        parameter,
                        parameter.grad,
                        group["lr"] * _direction(self._adamw.state[parameter], group["eps"]),
                    )

    def state(self) -> dict[str, Tensor]:
        """The moments of every parameter, by name."""
        moments = self._adamw.state_dict()["state"]
        return {f"{index}.{name}": value for index, each in moments.items() for name, value in each.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up the moments that `state` gave."""
        moments: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value.clone()
        self._adamw.load_state_dict({**self._adamw.state_dict(), "state": moments})


def _direction(state: Mapping[str, Tensor], epsilon: float) -> Tensor:
    """What AdamW multiplies by the rate, from its moments."""
    count = int(state["step"])
    mean, square = state["exp_avg"] / (1 - BETAS[0] ** count), state["exp_avg_sq"] / (1 - BETAS[1] ** count)
    return mean.div(square.sqrt() + epsilon)
