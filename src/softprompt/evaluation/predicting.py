"""Labels for texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.evaluation.ensemble import Ensemble
from softprompt.evaluation.overflow import overflow_error
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.template import only_field

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A text's most probable label, and the probability of each."""

    text: str
    label: str
    probabilities: dict[str, float]

    @classmethod
    def of(cls, text: str, labels: Sequence[str], log_probabilities: Sequence[float]) -> Prediction:
        """What a text's log-probabilities of the labels come to."""
        shares = {label: math.exp(each) for label, each in zip(labels, log_probabilities, strict=True)}
        return cls(text, max(shares, key=shares.__getitem__), shares)


def classify(
    model: FrozenModel, prompt: SavedPrompt | Sequence[SavedPrompt], texts: Sequence[str] | str, *, by: str = "mean"
) -> list[Prediction]:
    """The labels of texts, or of one; each fills the template's only field.

    Several prompts answer together, by the `mean` of their probabilities or by `vote`: see `Ensemble`.

    Raises:
        TaskError: a prompt does not classify, several are not for one task, or the template has several fields.
        SettingError: no such way to combine prompts, or no prompt.
        WrongBaseModel: a prompt is for another model.
        OverflowingPrompt: the model's numbers behind a prompt are not finite.
    """
    ensemble = Ensemble.of(model, [prompt] if isinstance(prompt, SavedPrompt) else prompt, by)
    texts = [texts] if isinstance(texts, str) else texts
    if not texts:
        return []
    objective = ensemble.objective
    field = only_field(objective.template)
    rows = [objective.encode_text(Example({field: text}, f"text {i}")) for i, text in enumerate(texts, start=1)]
    if cut := sum(row.cut for row in rows):
        logger.warning("%d of %d texts were cut to fit the model's window", cut, len(rows))
    outputs = ensemble.outputs(rows)
    if outputs.isnan().any():
        raise overflow_error()
    return [Prediction.of(text, objective.task.labels, row) for text, row in zip(texts, outputs.tolist(), strict=True)]
