"""The divergence of label probabilities, and its metrics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softprompt.distillation.label_distillation import LabelDistillationObjective
from softprompt.model import CausalModel
from softprompt.tasks import EncodedExample
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.encoded_example import SoftLabelTarget
from tests.distillation.targets import build_context, compute_outputs, teach
from tests.strategies import random_prefix
from tests.tiny import shared_model


def llama() -> CausalModel:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    return model


def build_objective(untrained_kl: float | None = None) -> LabelDistillationObjective:
    objective, _ = teach(llama(), "classification")
    assert isinstance(objective.base, ClassificationObjective)
    return LabelDistillationObjective(objective.base, untrained_kl)


def targets(*rows: list[float], labels: tuple[int, ...] = ()) -> list[EncodedExample]:
    indices = labels or (-1,) * len(rows)
    return [
        EncodedExample([3], SoftLabelTarget(torch.tensor(row).log_softmax(0), index))
        for row, index in zip(rows, indices, strict=True)
    ]


def test_the_divergence_is_that_of_torch() -> None:
    objective, examples = teach(llama(), "classification")
    losses, outputs = compute_outputs(objective, examples, [random_prefix(llama(), 3, 0)] * len(examples))
    teacher = torch.stack([example.supervision.log_probs for example in examples])  # type: ignore[union-attr]
    expected = torch.nn.functional.kl_div(outputs, teacher, reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(losses, expected)


def test_the_teacher_itself_has_no_divergence() -> None:
    model = llama()
    objective, examples = teach(model, "classification")
    losses, _ = compute_outputs(objective, examples, [build_context(model).prefix] * len(examples))
    assert losses.abs().max() < 1e-5


def test_metrics_of_known_probabilities() -> None:
    examples = targets([2.0, 0.0], [0.0, 2.0], labels=(0, 0))
    outputs = torch.stack([torch.tensor([2.0, 0.0]).log_softmax(0)] * 2)
    metrics = build_objective(untrained_kl=2.0).compute_metrics(outputs, examples)
    p = torch.tensor([0.0, 2.0]).softmax(0)
    kl = float((p * (p / p.flip(0)).log()).sum()) / 2
    assert metrics["kl"] == metrics["loss"] == pytest.approx(kl)
    assert metrics["recovery"] == pytest.approx(1 - kl / 2)
    assert (metrics["agreement"], metrics["accuracy"]) == (0.5, 1.0)


@pytest.mark.parametrize("untrained_kl", [None, 0.0, 1e-9, -1e-9])
def test_a_text_that_changes_nothing_has_no_recovery(untrained_kl: float | None) -> None:
    metrics = build_objective(untrained_kl).compute_metrics(torch.zeros(1, 2).log_softmax(1), targets([2.0, 0.0]))
    assert "recovery" not in metrics


def test_accuracy_needs_a_label_of_every_input() -> None:
    examples = targets([2.0, 0.0], [0.0, 2.0], labels=(0, -1))
    assert "accuracy" not in build_objective().compute_metrics(torch.zeros(2, 2).log_softmax(1), examples)


def test_a_smaller_divergence_is_selected() -> None:
    objective = build_objective()
    assert objective.selection_key({"kl": 0.1}) > objective.selection_key({"kl": 0.2})


def test_certain_labels_have_finite_gradients() -> None:
    """The teacher is certain, and the student is certain of another label."""
    objective, examples = teach(llama(), "classification")
    certain = torch.tensor([0.0, -300.0, -300.0])
    examples = [replace(example, supervision=SoftLabelTarget(certain)) for example in examples]
    prefix = random_prefix(llama(), 3, 0)
    prefix = prefix.with_tensor(prefix.tensor.requires_grad_())
    batch = objective.collate(examples, prefix)
    objective.compute_losses(objective.forward_batch(batch, prefix), batch).sum().backward()
    assert prefix.tensor.grad is not None
    assert prefix.tensor.grad.isfinite().all()
