"""AdamW with linear warm-up, cosine decay to zero, gradient clipping, and a bound on the length of a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from softprompt.training.run_settings import RunSettings
from softprompt.training.trainable import Trainable

#: A run has about a hundred steps, and its first gradients are many times larger than its last: the usual 0.999 would
#: remember them for ten times the length of the run.
ADAMW_BETAS = (0.9, 0.95)

#: Maximum share of its loss that a step may remove, as its gradients predict it.
MAX_LOSS_DECREASE = 0.5


class OptimizerStep(NamedTuple):
    """Result of an optimizer step.

    Attributes:
        gradient_norm: Norm of the gradient before clipping.
        scheduled_learning_rate: Learning rate of the step by the schedule.
        learning_rate: Learning rate of the step: the scheduled one, or less if the step was shortened.
    """

    gradient_norm: float
    scheduled_learning_rate: float
    learning_rate: float


class ScheduledOptimizer:
    """Optimizer with a learning-rate schedule.

    Attributes:
        peak_learning_rate: Learning rate at the end of the warm-up.
        total_steps: Number of steps of the run.
        max_grad_norm: Maximum norm of the gradient.
        warmup_steps: Number of steps in which the learning rate rises.
    """

    def __init__(
        self,
        trainable: Trainable,
        peak_learning_rate: float,
        total_steps: int,
        warmup_ratio: float,
        weight_decay: float,
        max_grad_norm: float,
    ):
        self.peak_learning_rate, self.total_steps, self.max_grad_norm = peak_learning_rate, total_steps, max_grad_norm
        self.warmup_steps = max(1, round(total_steps * warmup_ratio))
        groups = trainable.param_groups()
        self._lr_multipliers = [lr_multiplier for _, lr_multiplier in groups]
        self._parameters = [p for parameters, _ in groups for p in parameters]
        self._adamw = torch.optim.AdamW(
            [{"params": parameters} for parameters, _ in groups], betas=ADAMW_BETAS, weight_decay=weight_decay
        )

    @classmethod
    def from_settings(
        cls, settings: RunSettings, trainable: Trainable, peak_learning_rate: float
    ) -> ScheduledOptimizer:
        """Build the optimizer that the settings describe."""
        return cls(
            trainable,
            peak_learning_rate,
            settings.max_steps,
            settings.warmup_ratio,
            settings.weight_decay,
            settings.max_grad_norm,
        )

    def get_learning_rate(self, step: int) -> float:
        """Return the scheduled learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak_learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.peak_learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def apply_gradients(self, step: int, loss: float) -> OptimizerStep:
        """Apply the gradients of a step and clear them.

        The step is shortened if the gradients predict that it lowers the loss by more than `MAX_LOSS_DECREASE` of it:
        they do not hold that far. Without this bound the first steps overshoot if the learning rate is too high for the
        model. The bound is SPS_max (arXiv 2002.10542) for a step that AdamW has scaled.

        Args:
            step: Index of the step, counted from 0.
            loss: Loss that the gradients belong to.
        """
        learning_rate = self.get_learning_rate(step)
        for group, lr_multiplier in zip(self._adamw.param_groups, self._lr_multipliers, strict=True):
            group["lr"] = learning_rate * lr_multiplier
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self.max_grad_norm))
        self._adamw.step()
        decrease = self._predict_loss_decrease() * max(1.0, norm / self.max_grad_norm)
        scale = 1.0
        if decrease > MAX_LOSS_DECREASE * loss:
            scale = MAX_LOSS_DECREASE * loss / decrease
            self._revert_step(1 - scale)
        self._adamw.zero_grad(set_to_none=True)
        return OptimizerStep(norm, learning_rate, scale * learning_rate)

    def _predict_loss_decrease(self) -> float:
        """Predict to first order by how much the last step lowers the loss: its product with the clipped gradients."""
        products = [(gradient * change).sum() for _, gradient, change in self._iter_changes()]
        return float(torch.stack(products).sum()) if products else 0.0  # one synchronization with the accelerator

    @torch.no_grad()
    def _revert_step(self, fraction: float) -> None:
        """Undo a fraction of the last step."""
        for parameter, _, change in self._iter_changes():
            parameter.add_(change, alpha=fraction)

    def _iter_changes(self) -> Iterator[tuple[nn.Parameter, Tensor, Tensor]]:
        """Yield each parameter, its gradient, and what the last step subtracted from it, without weight decay."""
        for group in self._adamw.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    yield (
                        parameter,
                        parameter.grad,
                        group["lr"] * _compute_direction(self._adamw.state[parameter], group["eps"]),
                    )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments of all parameters by name."""
        moments = self._adamw.state_dict()["state"]
        return {f"{index}.{name}": value for index, state in moments.items() for name, value in state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the moments that `state_dict` returned."""
        moments: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value.clone()
        self._adamw.load_state_dict({**self._adamw.state_dict(), "state": moments})


def _compute_direction(state: Mapping[str, Tensor], epsilon: float) -> Tensor:
    """Compute from the moments what AdamW multiplies by the learning rate."""
    count = int(state["step"])
    mean, square = state["exp_avg"] / (1 - ADAMW_BETAS[0] ** count), state["exp_avg_sq"] / (1 - ADAMW_BETAS[1] ** count)
    return mean.div(square.sqrt() + epsilon)
