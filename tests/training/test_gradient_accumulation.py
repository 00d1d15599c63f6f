"""Computing the prompt once per step instead of once per example changes no gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from softprompt.model import ForwardBudget, FrozenModel
from softprompt.prompts import build_prompt
from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget, Objective
from softprompt.training.prompt_trainable import PromptTrainable
from tests import strategies
from tests.tiny import FAMILIES, shared_model

LABELS = ("good", "bad")
BEGINNING = [5, 9, 77, 12]
ROWS = [EncodedExample([*BEGINNING, *range(20, 22 + 3 * i)], LabelTarget(i % 2), task_index=i % 2) for i in range(5)]
SEVERAL = {"multitask"}


def gradients(
    model: FrozenModel,
    method: str,
    encoder: str,
    rows: list[EncodedExample],
    monkeypatch: pytest.MonkeyPatch,
    pass_cost: int,
) -> tuple[float, dict[str, Tensor | None]]:
    monkeypatch.setattr(type(model), "forward_budget", ForwardBudget(pass_cost, model.forward_budget.max_tokens))
    prompt, _ = build_prompt(strategies.options(method, 3, encoder=encoder), model, "a film", LABELS)
    objective = ClassificationTask(labels=LABELS).build_objective(model, 100, prompt.head)
    loss, *_ = PromptTrainable(prompt).accumulate_gradients(objective, rows, 5)
    return loss, {name: parameter.grad for name, parameter in prompt.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "encoder"), [("prefix", "none"), ("prompt", "none"), ("multitask", "none")])
def test_gradients_do_not_depend_on_buckets_and_shared_prefix(
    family: str, method: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shared_model(family)
    rows = [row if method in SEVERAL else EncodedExample(row.prompt_ids, LabelTarget(row.label_index)) for row in ROWS]
    each = [gradients(model, method, encoder, rows, monkeypatch, cost) for cost in (0, 10**9)]
    (loss, found), (expected_loss, expected) = each
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_shared_prefix_of_examples_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    run: list[int] = []
    layer = model.family.get_layers(model.network)[0]
    hook = layer.register_forward_hook(lambda _, arguments, __: run.append(arguments[0].shape[:2].numel()))
    rows = [EncodedExample([*BEGINNING, 20 + i], LabelTarget(i % 2)) for i in range(5)]
    gradients(model, "prefix", "none", rows, monkeypatch, 0)
    hook.remove()
    assert run[-2:] == [len(BEGINNING), len(rows)]  # after the shared prefix, which is computed once


def test_prefix_is_not_extended_for_one_example() -> None:
    model = shared_model("llama")
    objective: Objective = ClassificationTask(labels=LABELS).build_objective(model, 100)
    assert objective.extend_prefix(None, [EncodedExample(list(range(5, 90)))]) is None
