"""Labels for texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.evaluation.ensemble import Ensemble
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


def classify(
    model: FrozenModel, prompt: SavedPrompt | Sequence[SavedPrompt], texts: Sequence[str], *, by: str = "mean"
) -> list[Prediction]:
    """The labels of texts; each fills the template's only field.

    Several prompts answer together, by the `mean` of their probabilities or by `vote`: see `Ensemble`.

    Raises:
        TaskError: a prompt does not classify, several are not for one task, or the template has several fields.
        SettingError: no such way to combine prompts.
        WrongBaseModel: a prompt is for another model.
    """
    ensemble = Ensemble.of(model, [prompt] if isinstance(prompt, SavedPrompt) else prompt, by)
    if not texts:
        return []
    objective = ensemble.objective
    field = only_field(objective.template)
    rows = [objective.encode_text(Example({field: text}, f"text {i}")) for i, text in enumerate(texts, start=1)]
    if cut := sum(row.cut for row in rows):
        logger.warning("%d of %d texts were cut to fit the model's window", cut, len(rows))
    labels = objective.task.labels
    return [
        Prediction(text, labels[max(range(len(row)), key=row.__getitem__)], dict(zip(labels, row, strict=True)))
        for text, row in zip(texts, ensemble.outputs(rows).exp().tolist(), strict=True)
    ]
