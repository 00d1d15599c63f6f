"""AdamW with warm-up, a cosine to zero, and a bound on the gradient's norm."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from softprompt.training.learner import Learner
from softprompt.training.settings import TuneSettings

# A run is a hundred steps, whose first gradients are many times its last: the usual 0.999 would remember them for ten
# times as long as the run lasts.
BETAS = (0.9, 0.95)


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

    def update(self, step: int) -> float:
        """Apply the gradients of step `step` and clear them; returns their norm before clipping."""
        for group, multiple in zip(self._adamw.param_groups, self._multiples, strict=True):
            group["lr"] = self.rate(step) * multiple
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.clip)
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        return float(norm)

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
