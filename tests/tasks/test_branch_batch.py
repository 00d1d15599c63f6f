"""A row that is computed once for all ways on has the answers, and the gradient, of a sequence for each way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given

from softprompt.model import CausalModel, FrozenModel, Ground, Payload
from softprompt.model.states_file import StatesFile
from softprompt.tasks import Batch, ClassificationTask, Row
from softprompt.tasks.branch_batch import branch_batch
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.joint_batch import join_batches
from softprompt.tasks.objective import states_of
from softprompt.tasks.verbalizer import Verbalizer
from tests.strategies import random_prefix, rows, writing_families
from tests.tiny import shared_model, tiny_model

WORDS = [(40,), (40, 50), (60, 70, 5), (60, 70, 6), (60, 80), (61, 80), (61, 81, 7), (61, 81, 8)]
OTHER = [(9, 10), (9, 11), (8, 10), (8, 12)]


def objective_of(model: FrozenModel, words: list[Any]) -> ClassificationObjective:
    return ClassificationObjective(model, ClassificationTask(labels=("a", "b")), 128, Verbalizer(words, model.eos))


def rows_of(model: FrozenModel, texts: list[list[int]]) -> list[Row]:
    return [Row(model.row(text), [], label=i % 2) for i, text in enumerate(texts)]


def both(objective: ClassificationObjective, rows: list[Row], payloads: Any) -> tuple[Batch, Batch]:
    return (
        objective._sequences(rows, payloads),
        branch_batch(objective.model, rows, payloads, objective.reader),
    )


@given(family=writing_families, texts=rows)
def test_branches_have_the_answers_of_sequences(family: str, texts: list[list[int]]) -> None:
    model = shared_model(family)
    objective, own = objective_of(model, WORDS), rows_of(model, texts)
    several: list[Payload | None] = [random_prefix(model, 1 + i, i) if i % 3 else None for i in range(len(own))]
    for payloads in (random_prefix(model, 3, 0), several):
        with torch.no_grad():
            expected, found = (
                objective.outputs(objective.read(b, payloads), b) for b in both(objective, own, payloads)
            )
        assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "bloom", "bart"])
@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
def test_branches_have_the_gradient_of_sequences(family: str, in_parts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model(family)
    if in_parts:
        monkeypatch.setattr(type(model), "pass_tokens", 2)
    objective, own = objective_of(model, WORDS), rows_of(model, [[7, 8, 9], [10]])
    gradients = []
    for index in range(2):
        payload = random_prefix(model, 3, 1)
        payload = payload.with_tensor(payload.tensor.requires_grad_())
        batch = both(objective, own, payload)[index]
        objective.losses(objective.read(batch, payload), batch).sum().backward()
        gradients.append(payload.tensor.grad)
    assert torch.allclose(*gradients, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "bart", "t5"])
def test_batches_of_several_prompts_are_read_together_as_alone(family: str) -> None:
    """Whether a batch's rows are computed once or once for each way, one of which has more in the decoder."""
    model = shared_model(family)
    payloads = [random_prefix(model, 1 + number, number) for number in range(4)]
    objectives = [objective_of(model, words) for words in (WORDS, OTHER, [(5,), (6,)], WORDS)]
    texts = [rows_of(model, each) for each in ([[7, 8, 9], [10]], [[3] * 9], [[4]], [[5, 6]])]
    batches = [branch_batch(model, r, p, o.reader) for r, p, o in zip(texts[:2], payloads, objectives, strict=False)]
    batches.append(objectives[2].collate(texts[2], payloads[2]))
    batches.append(objectives[3]._sequences(texts[3], payloads[3]))
    behind = [payload for batch, payload in zip(batches, payloads, strict=True) for _ in range(len(batch.ids))]
    with torch.no_grad():
        together = states_of(model, join_batches(batches), behind).split([len(batch.reads) for batch in batches])
        for own, batch, payload in zip(together, batches, payloads, strict=True):
            assert torch.allclose(own, states_of(model, batch, payload), atol=1e-4)


def test_a_row_is_computed_once_where_that_pays() -> None:
    """One sequence a row, however many paths; a single short row is not worth a pass of its own."""
    model = shared_model("llama")
    objective = objective_of(model, WORDS)
    many = objective.collate(rows_of(model, [[7] * 20] * 9), None)
    assert len(many.ids) == 9
    assert many.branches is not None
    assert len(many.branches.ids) == 9 * len(objective.reader.paths)
    assert objective.collate(rows_of(model, [[7]]), None).branches is None


def test_a_text_whose_states_are_remembered_is_looked_up_with_each_way() -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    remembering, prefix = model.remembering(StatesFile.__new__(StatesFile)), random_prefix(model, 3, 1)
    assert remembering.shares_rows(prefix)
    assert not remembering.shares_rows(replace(prefix, ground=Ground(prefix.tensor[:1]), tensor=prefix.tensor[1:]))


def test_a_model_whose_layers_run_twice_computes_each_way_anew() -> None:
    model = shared_model("llama")
    assert model.shares_rows(None)
    assert not shared_model("bert").shares_rows(None)
    checkpointing = tiny_model("llama")
    checkpointing.checkpoint_gradients()
    assert not checkpointing.shares_rows(None)
