"""Which chunks of several prompts go through the model together."""

from __future__ import annotations

import pytest

from softprompt.tasks import ClassificationTask, Row
from softprompt.tasks.branch_batch import branch_batch
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.verbalizer import Verbalizer
from softprompt.training.passes import Chunk, _first
from tests.strategies import random_prefix
from tests.tiny import shared_model

LABELS = [(5, 6, 7), (5, 6, 8), (9, 10, 11)]  # two tokens of each are read behind the row


@pytest.mark.parametrize(("room", "together"), [(0, 2), (1, 1)], ids=["they fit", "one token too many"])
def test_rows_and_what_their_labels_go_on_with_fit_the_window_together(
    room: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fits by itself; the prompt that is longest stands in front of the row that is longest."""
    model = shared_model("mistral")
    monkeypatch.setattr(type(model), "pass_tokens", 10**6)
    objective = ClassificationObjective(model, ClassificationTask(labels=("a", "b", "c")), 96, Verbalizer(LABELS, 0))
    chunks = []
    for P, T in ((4, 80), (3, model.shape.window - 4 - 2 + room)):
        payload, row = random_prefix(model, P, P), Row([7] * T, [], label=0)
        batch = branch_batch(model, [row], payload, objective.reader)
        assert batch.branches is not None
        assert P + T + batch.branches.ids.shape[1] <= model.shape.window
        chunks.append(Chunk(objective, batch, [payload], [], 1.0))
    assert len(_first(chunks, 100)) == together
