"""What is run once a step instead of once a row changes no gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from softprompt.model import FrozenModel
from softprompt.prompts import build_prompt
from softprompt.tasks import ClassificationTask, Objective, Row
from softprompt.training.gradients import PromptLearner
from tests import strategies
from tests.tiny import FAMILIES, shared_model

LABELS = ("good", "bad")
BEGINNING = [5, 9, 77, 12]
ROWS = [Row([*BEGINNING, *range(20, 22 + 3 * i)], [], label=i % 2, task=i % 2) for i in range(5)]
SEVERAL = {"multitask"}


def gradients(
    model: FrozenModel, method: str, encoder: str, rows: list[Row], monkeypatch: pytest.MonkeyPatch, pass_cost: int
) -> tuple[float, dict[str, Tensor | None]]:
    monkeypatch.setattr(type(model), "pass_cost", pass_cost)
    prompt, _ = build_prompt(strategies.options(method, 3, encoder=encoder), model, "a film", LABELS)
    objective = ClassificationTask(labels=LABELS).bind(model, 100, prompt.head)
    loss, *_ = PromptLearner(prompt).accumulate(objective, rows, 5)
    return loss, {name: parameter.grad for name, parameter in prompt.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "encoder"), [("prefix", "none"), ("prompt", "none"), ("multitask", "none")])
def test_passes_of_like_lengths_and_a_beginning_that_is_run_once(
    family: str, method: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shared_model(family)
    rows = [row if method in SEVERAL else Row(row.prompt, [], label=row.label) for row in ROWS]
    each = [gradients(model, method, encoder, rows, monkeypatch, cost) for cost in (0, 10**9)]
    (loss, found), (expected_loss, expected) = each
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_a_beginning_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    run: list[int] = []
    layer = model.family.layers(model.network)[0]
    hook = layer.register_forward_hook(lambda _, arguments, __: run.append(arguments[0].shape[:2].numel()))
    rows = [Row([*BEGINNING, 20 + i], [], label=i % 2) for i in range(5)]
    gradients(model, "prefix", "none", rows, monkeypatch, 0)
    hook.remove()
    assert run[-2:] == [len(BEGINNING), len(rows)]  # behind the start, which is computed once


def test_what_rows_begin_with_ends_where_they_are_read() -> None:
    from softprompt.tasks.objective import beginning

    assert beginning([Row([5, 9, 7], []), Row([5, 9, 7], [])]) == [5, 9]
    assert beginning([Row([5, 9, 7], []), Row([5, 9], [])]) == [5]
    assert beginning([Row([5, -1, 7], []), Row([5, -1, 7], [])]) == [5]


def test_nothing_is_gained_on_one_row() -> None:
    model = shared_model("llama")
    objective: Objective = ClassificationTask(labels=LABELS).bind(model, 100)
    assert objective.behind(None, [Row(list(range(5, 90)), [])]) is None
