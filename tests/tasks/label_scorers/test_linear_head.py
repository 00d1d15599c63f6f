"""A trained linear layer that scores labels from the pooled token."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Tensor

from softprompt.model import FrozenModel
from softprompt.tasks import ClassificationTask, EncodedExample, LinearHead
from tests.strategies import causal_families, rows
from tests.tiny import shared_model

TASK = ClassificationTask(labels=("a", "b", "c"))


def trained_head(model: FrozenModel) -> LinearHead:
    head = LinearHead(3, model.shape.hidden_size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator))
        head.bias.copy_(torch.randn(head.bias.shape, generator=generator))
    return head


def log_probabilities(model: FrozenModel, head: LinearHead, sequences: list[list[int]]) -> Tensor:
    objective = TASK.build_objective(model, 128, head)
    batch = objective.collate([EncodedExample(ids) for ids in sequences], None)
    return objective.compute_log_probs(objective.forward_batch(batch, None), batch)


def test_untrained_head_gives_every_label_the_same_probability() -> None:
    model = shared_model("llama")
    found = log_probabilities(model, LinearHead(3, model.shape.hidden_size), [[5, 6], [7]])
    torch.testing.assert_close(found.exp(), torch.full((2, 3), 1 / 3))


@given(family=causal_families, sequences=rows)
def test_head_reads_the_last_token_of_each_example(family: str, sequences: list[list[int]]) -> None:
    model = shared_model(family)
    head = trained_head(model)
    with torch.no_grad():
        together = log_probabilities(model, head, sequences)
        for ids, found in zip(sequences, together, strict=True):
            last = model.family.get_backbone(model.network)(torch.tensor([ids])).last_hidden_state[0, -1]
            expected = (head.weight @ last + head.bias).log_softmax(dim=0)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_head_appends_no_tokens() -> None:
    model = shared_model("llama")
    batch = TASK.build_objective(model, 128, trained_head(model)).collate([EncodedExample([5, 6, 7])], None)
    assert batch.input_ids.tolist() == [[5, 6, 7]]


def test_the_gradient_reaches_weight_and_bias_of_the_head() -> None:
    model = shared_model("llama")
    head = LinearHead(3, model.shape.hidden_size)
    log_probabilities(model, head, [[5, 6]])[0, 0].backward()
    assert head.weight.grad is not None
    assert head.bias.grad is not None
    assert head.weight.grad.abs().sum() > 0
    assert head.bias.grad.tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3])
