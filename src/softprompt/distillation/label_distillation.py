"""Distillation of a classification: the student learns the teacher's probabilities of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.distillation.distillation_objective import DistillationObjective
from softprompt.model import BatchPayloads
from softprompt.tasks import Batch, EncodedExample
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.collation import SoftTargets
from softprompt.tasks.encoded_example import SoftLabelTarget, get_supervision

MIN_KL = 1e-6  # divergence without a prompt, in nats, of which a share is recovered; less is rounding


class LabelDistillationObjective(DistillationObjective[ClassificationObjective]):
    """The divergence of the labels' probabilities from the teacher's, in nats.

    Args:
        base: objective of the classification.
        untrained_kl: divergence without any prompt on the examples of an evaluation; None if there is none.
    """

    def __init__(self, base: ClassificationObjective, untrained_kl: float | None = None):
        super().__init__(base)
        self._untrained_kl = untrained_kl

    def collate(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> Batch:
        """Collate examples with the teacher's probabilities of their labels."""
        batch = self.base.collate(examples, payloads)
        return replace(batch, soft_targets=SoftTargets(_stack_teacher(examples).to(self.model.device)))

    def compute_losses(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Return the divergence of each example."""
        assert batch.soft_targets is not None
        return _compute_kl(batch.soft_targets.log_probs, self.base.compute_log_probs(hidden_states, batch))

    def compute_outputs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the labels."""
        return self.base.compute_log_probs(hidden_states, batch)

    def compute_metrics(self, outputs: Float[Tensor, "N K"], examples: Sequence[EncodedExample]) -> dict[str, float]:
        """Compute the divergence and the share of examples with the teacher's label; accuracy if labels are known.

        The recovery is the share of the divergence without a prompt that the student removes.
        """
        teacher, student = _stack_teacher(examples).double(), outputs.double()
        kl = float(_compute_kl(teacher, student).mean())
        metrics = {"agreement": float((teacher.argmax(1) == student.argmax(1)).double().mean()), "kl": kl, "loss": kl}
        if self._untrained_kl is not None and self._untrained_kl > MIN_KL:
            metrics = {"recovery": 1 - kl / self._untrained_kl, **metrics}
        labels = torch.tensor([example.label_index for example in examples])
        if (labels >= 0).all():
            metrics["accuracy"] = float((student.argmax(1) == labels).double().mean())
        return metrics

    def score_examples(self, outputs: Float[Tensor, "N K"], examples: Sequence[EncodedExample]) -> list[float]:
        """Return the negated divergence of each example."""
        return (-_compute_kl(_stack_teacher(examples).double(), outputs.double())).tolist()

    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return the negated divergence."""
        return (-metrics["kl"],)


def _stack_teacher(examples: Sequence[EncodedExample]) -> Float[Tensor, "B K"]:
    return torch.stack([get_supervision(example, SoftLabelTarget).log_probs for example in examples])


def _compute_kl(teacher: Float[Tensor, "B K"], student: Float[Tensor, "B K"]) -> Float[Tensor, "B"]:
    return (teacher.exp() * (teacher - student)).sum(dim=1)
