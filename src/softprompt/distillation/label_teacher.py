"""A teacher of classifications: the frozen model behind the whole text, calibrated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from softprompt.data import Example
from softprompt.distillation.context import Context
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.tasks import EncodedExample
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.encoded_example import SoftLabelTarget
from softprompt.tasks.templates.template import Template

logger = logging.getLogger(__name__)

Calibration = Literal["batch", "contextual", "none"]

CONTENT_FREE_TEXTS = ("N/A", "[MASK]", "")  # Zhao et al. 2021
MIN_BATCH_INPUTS = 4  # for a batch calibration: the mean over one input is the input itself, its quotient uniform


class LabelTeacher:
    """The frozen model behind the whole text, as a teacher of label probabilities.

    A few-shot prompt makes a model prefer some labels whatever the text, for example that of the last example. A
    student would learn that. So the probabilities are divided by those of an average text: the mean over the inputs
    (batch calibration, Zhou et al. 2023, arXiv 2309.17249), which assumes about equally many inputs of each label, or
    those of texts without content (contextual calibration, Zhao et al. 2021, arXiv 2102.09690), which also replaces the
    former where there are too few inputs for a mean.

    Args:
        objective: objective of the classification on the teacher's model.
        context: text in front of the inputs.
        calibration: texts whose mean probabilities are divided out.
    """

    def __init__(self, objective: ClassificationObjective, context: Context, calibration: Calibration):
        self.objective, self.context, self.calibration = objective, context, calibration

    def add_targets(
        self, examples: Sequence[EncodedExample], on_progress: Callable[[int], None] | None = None
    ) -> list[EncodedExample]:
        """Return the examples with the teacher's probabilities as supervision.

        Args:
            examples: encoded inputs, with the right label if it is known.
            on_progress: called with the number of finished examples.
        """
        log_probs = self._calibrate(collect_outputs(self.objective, self.context.prefix, examples, on_progress))
        return [
            replace(example, supervision=SoftLabelTarget(target, example.label_index))
            for example, target in zip(examples, log_probs, strict=True)
        ]

    def _calibrate(self, log_probs: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        match self._select_calibration(len(log_probs)):
            case "batch":
                mean = log_probs.exp().mean(dim=0)
            case "contextual":
                mean = collect_outputs(self.objective, self.context.prefix, self._encode_empty_texts()).exp().mean(0)
            case "none":
                return log_probs
        return (log_probs - mean.log()).log_softmax(dim=1)

    def _select_calibration(self, num_inputs: int) -> Calibration:
        """Return the calibration, or the contextual one with a warning if there are too few inputs for their mean."""
        if self.calibration != "batch" or num_inputs >= MIN_BATCH_INPUTS:
            return self.calibration
        logger.warning(
            '`calibration="batch"` divides by the mean over the inputs, of which %d are too few: the teacher is '
            'calibrated by texts without content instead, as `calibration="contextual"` does',
            num_inputs,
        )
        return "contextual"

    def _encode_empty_texts(self) -> list[EncodedExample]:
        """Encode the template with texts without content in all fields."""
        fields = Template(self.objective.task.template).field_names
        return [
            self.objective.encode_unlabeled(Example(dict.fromkeys(fields, text), "a text without content"))
            for text in CONTENT_FREE_TEXTS
        ]
