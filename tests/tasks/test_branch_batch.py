"""Branches of one sequence give the same results and gradients as a separate sequence per branch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given

from softprompt.model import CausalModel, ForwardBudget, FrozenModel, FrozenPrefix, Payload
from softprompt.model.sqlite_tensor_store import SQLiteTensorStore
from softprompt.tasks import Batch, ClassificationTask, EncodedExample, LabelTarget
from softprompt.tasks.branch_batch import collate_branches
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.collation import gather_output_states
from softprompt.tasks.joint_batch import join_batches
from softprompt.tasks.label_batch import collate_sequences
from softprompt.tasks.label_scorers.verbalizer import Verbalizer
from tests.strategies import random_prefix, rows, writing_families
from tests.tiny import shared_model, tiny_model

WORDS = [(40,), (40, 50), (60, 70, 5), (60, 70, 6), (60, 80), (61, 80), (61, 81, 7), (61, 81, 8)]
OTHER = [(9, 10), (9, 11), (8, 10), (8, 12)]


def objective_of(model: FrozenModel, words: list[Any]) -> ClassificationObjective:
    return ClassificationObjective(
        model, ClassificationTask(labels=("a", "b")), 128, Verbalizer(words, model.eos_token_id)
    )


def rows_of(model: FrozenModel, texts: list[list[int]]) -> list[EncodedExample]:
    return [
        EncodedExample(model.prompt_tokenizer.add_special_tokens(text), LabelTarget(i % 2))
        for i, text in enumerate(texts)
    ]


def both(objective: ClassificationObjective, rows: list[EncodedExample], payloads: Any) -> tuple[Batch, Batch]:
    return (
        collate_sequences(objective.model, rows, payloads, objective.label_scorer),
        collate_branches(objective.model, rows, payloads, objective.label_scorer),
    )


@given(family=writing_families, texts=rows)
def test_outputs_of_branches_equal_those_of_separate_sequences(family: str, texts: list[list[int]]) -> None:
    model = shared_model(family)
    objective, own = objective_of(model, WORDS), rows_of(model, texts)
    several: list[Payload | None] = [random_prefix(model, 1 + i, i) if i % 3 else None for i in range(len(own))]
    for payloads in (random_prefix(model, 3, 0), several):
        with torch.no_grad():
            expected, found = (
                objective.compute_outputs(objective.forward_batch(b, payloads), b)
                for b in both(objective, own, payloads)
            )
        assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "bloom", "bart"])
@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
def test_gradients_of_branches_equal_those_of_separate_sequences(
    family: str, in_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shared_model(family)
    if in_parts:
        monkeypatch.setattr(type(model), "forward_budget", ForwardBudget(model.forward_budget.overhead, 2))
    objective, own = objective_of(model, WORDS), rows_of(model, [[7, 8, 9], [10]])
    gradients = []
    for index in range(2):
        payload = random_prefix(model, 3, 1)
        payload = payload.with_tensor(payload.tensor.requires_grad_())
        batch = both(objective, own, payload)[index]
        objective.compute_losses(objective.forward_batch(batch, payload), batch).sum().backward()
        gradients.append(payload.tensor.grad)
    assert torch.allclose(*gradients, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "bart", "t5"])
def test_hidden_states_of_joined_batches_equal_those_of_single_batches(family: str) -> None:
    """Batches with and without branches are joined; in one, a branch has more decoder tokens."""
    model = shared_model(family)
    payloads = [random_prefix(model, 1 + number, number) for number in range(4)]
    objectives = [objective_of(model, words) for words in (WORDS, OTHER, [(5,), (6,)], WORDS)]
    texts = [rows_of(model, each) for each in ([[7, 8, 9], [10]], [[3] * 9], [[4]], [[5, 6]])]
    batches = [
        collate_branches(model, r, p, o.label_scorer) for r, p, o in zip(texts[:2], payloads, objectives, strict=False)
    ]
    batches.append(objectives[2].collate(texts[2], payloads[2]))
    batches.append(collate_sequences(model, texts[3], payloads[3], objectives[3].label_scorer))
    behind = [payload for batch, payload in zip(batches, payloads, strict=True) for _ in range(len(batch.input_ids))]
    with torch.no_grad():
        together = gather_output_states(model, join_batches(batches), behind).split(
            [len(batch.output_indices) for batch in batches]
        )
        for own, batch, payload in zip(together, batches, payloads, strict=True):
            assert torch.allclose(own, gather_output_states(model, batch, payload), atol=1e-4)


def test_branches_are_used_if_cheaper() -> None:
    """With branches there is one sequence per example; for a single short example they cost more than they save."""
    model = shared_model("llama")
    objective = objective_of(model, WORDS)
    many = objective.collate(rows_of(model, [[7] * 20] * 9), None)
    assert len(many.input_ids) == 9
    assert many.branches is not None
    assert len(many.branches.input_ids) == 9 * len(objective.label_scorer.appended_paths)
    assert objective.collate(rows_of(model, [[7]]), None).branches is None


def test_hidden_state_cache_disables_branches_with_frozen_prefix() -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    remembering, prefix = (
        model.with_hidden_state_cache(SQLiteTensorStore.__new__(SQLiteTensorStore)),
        random_prefix(model, 3, 1),
    )
    assert remembering.supports_branches(prefix)
    assert not remembering.supports_branches(
        replace(prefix, frozen_prefix=FrozenPrefix(prefix.tensor[:1]), tensor=prefix.tensor[1:])
    )


def test_masked_and_checkpointing_models_do_not_support_branches() -> None:
    model = shared_model("llama")
    assert model.supports_branches(None)
    assert not shared_model("bert").supports_branches(None)
    checkpointing = tiny_model("llama")
    checkpointing.enable_gradient_checkpointing()
    assert not checkpointing.supports_branches(None)
