"""Classification of texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.evaluation.ensemble import PromptEnsemble
from softprompt.evaluation.non_finite import build_non_finite_error
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelPrediction:
    """Prediction for a text: its most probable label, and the probability of each label."""

    text: str
    label: str
    probabilities: dict[str, float]

    @classmethod
    def from_log_probabilities(
        cls, text: str, labels: Sequence[str], log_probabilities: Sequence[float]
    ) -> LabelPrediction:
        """Build a prediction from the log-probabilities of the labels."""
        label_probabilities = {
            label: math.exp(log_probability) for label, log_probability in zip(labels, log_probabilities, strict=True)
        }
        return cls(text, max(label_probabilities, key=label_probabilities.__getitem__), label_probabilities)


def classify(
    model: FrozenModel,
    prompt: SavedPrompt | Sequence[SavedPrompt],
    texts: Sequence[str] | str,
    *,
    combine: str = "mean",
) -> list[LabelPrediction]:
    """Predict the labels of one or several texts, each of which fills the template's only field.

    Several prompts predict together, by the `mean` of their probabilities or by `vote`: see `PromptEnsemble`.

    Args:
        model: base model of the prompts.
        prompt: saved prompt or several of one task.
        texts: text or texts to classify.
        combine: how several prompts are combined: `mean` or `vote`.

    Raises:
        TaskError: a prompt does not classify, the prompts have different tasks, or the template has several fields.
        SettingError: `combine` is unknown, or there is no prompt.
        BaseModelMismatch: a prompt belongs to another model.
        NonFiniteOutput: a prompt makes the model's output non-finite.
    """
    ensemble = PromptEnsemble.from_prompts(model, [prompt] if isinstance(prompt, SavedPrompt) else prompt, combine)
    texts = [texts] if isinstance(texts, str) else texts
    if not texts:
        return []
    objective = ensemble.objective
    field = objective.template.get_single_field()
    examples = [
        objective.encode_unlabeled(Example({field: text}, f"text {i}")) for i, text in enumerate(texts, start=1)
    ]
    if num_truncated := sum(example.is_truncated for example in examples):
        logger.warning("%d of %d texts were truncated to the model's maximum length", num_truncated, len(examples))
    outputs = ensemble.compute_log_probabilities(examples)
    if outputs.isnan().any():
        raise build_non_finite_error()
    return [
        LabelPrediction.from_log_probabilities(text, objective.task.labels, example)
        for text, example in zip(texts, outputs.tolist(), strict=True)
    ]
