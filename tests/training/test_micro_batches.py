"""Selection of the micro-batches that share a pass."""

from __future__ import annotations

import pytest

from softprompt.model import ForwardBudget
from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget
from softprompt.tasks.branch_batch import collate_branches
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.label_scorers.verbalizer import Verbalizer
from softprompt.training.micro_batches import MicroBatch, _take_fitting
from tests.strategies import random_prefix
from tests.tiny import shared_model

LABELS = [(5, 6, 7), (5, 6, 8), (9, 10, 11)]  # each path adds two tokens after the text


@pytest.mark.parametrize(("extra_tokens", "expected"), [(0, 2), (1, 1)], ids=["they fit", "one token too many"])
def test_joint_pass_fits_longest_prompt_text_and_label_paths_in_the_window(
    extra_tokens: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each micro-batch fits alone; together, the longest prompt precedes the longest text."""
    model = shared_model("mistral")
    monkeypatch.setattr(type(model), "forward_budget", ForwardBudget(model.forward_budget.overhead, 10**6))
    objective = ClassificationObjective(model, ClassificationTask(labels=("a", "b", "c")), 96, Verbalizer(LABELS, 0))
    micro_batches = []
    for P, T in ((4, 80), (3, model.shape.window - 4 - 2 + extra_tokens)):
        payload, row = random_prefix(model, P, P), EncodedExample([7] * T, LabelTarget(0))
        batch = collate_branches(model, [row], payload, objective.label_scorer)
        assert batch.branches is not None
        assert P + T + batch.branches.input_ids.shape[1] <= model.shape.window
        micro_batches.append(MicroBatch(objective, batch, [payload], [], 1.0))
    assert len(_take_fitting(micro_batches, 100)) == expected
