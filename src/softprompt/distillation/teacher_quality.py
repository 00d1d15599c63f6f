"""How good the teacher itself is, on inputs whose answer is known. A faithful copy of a bad teacher is bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch

from softprompt.errors import SettingError
from softprompt.tasks import EncodedExample
from softprompt.tasks.encoded_example import SoftLabelTarget, get_supervision

CHANCE_MARGIN = 1.64  # standard errors above the most frequent label's share: 5% by chance


@dataclass(frozen=True)
class LabelTeacherQuality:
    """Accuracy of a teacher of labels.

    Attributes:
        accuracy: share of inputs whose likeliest label is right.
        majority: share of the most frequent label.
        num_inputs: number of inputs with a known label.
    """

    accuracy: float
    majority: float
    num_inputs: int

    @property
    def is_at_chance(self) -> bool:
        """Whether the accuracy is not clearly above that of always predicting the most frequent label."""
        standard_error = sqrt(self.majority * (1 - self.majority) / self.num_inputs)
        return self.accuracy <= self.majority + CHANCE_MARGIN * standard_error


def measure_label_teacher(examples: Sequence[EncodedExample]) -> LabelTeacherQuality | None:
    """Measure a teacher on inputs with its probabilities; None if no label is known.

    Args:
        examples: inputs with a teacher's probabilities of their labels, and the right label if it is known.
    """
    known = [example for example in examples if example.label_index >= 0]
    if not known:
        return None
    predicted = [int(get_supervision(example, SoftLabelTarget).log_probs.argmax()) for example in known]
    labels = torch.tensor([example.label_index for example in known])
    accuracy = float((torch.tensor(predicted) == labels).double().mean())
    return LabelTeacherQuality(accuracy, float(labels.bincount().max()) / len(known), len(known))


def check_teacher(examples: Sequence[EncodedExample], *, force: bool) -> None:
    """Check before any training that a teacher of labels is better than chance, as far as labels are known.

    Args:
        examples: inputs with the teacher's targets.
        force: continue with any teacher.

    Raises:
        SettingError: The teacher is at chance.
    """
    if force or not examples or not isinstance(examples[0].supervision, SoftLabelTarget):
        return
    quality = measure_label_teacher(examples)
    if quality is not None and quality.is_at_chance:
        raise SettingError(
            f"the teacher is at chance: it is right for {quality.accuracy:.0%} of {quality.num_inputs} inputs with a "
            f"label, and always choosing the most frequent label is for {quality.majority:.0%}. Its virtual tokens "
            "would be no better: choose other examples, a larger model or another `template`, or pass `force=True`"
        )
