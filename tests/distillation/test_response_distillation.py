"""The divergence of responses, compared with torch's own over the whole vocabulary."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.distillation import response_distillation
from softprompt.distillation.response_distillation import ResponseDistillationObjective, ResponseNLL
from softprompt.model import CausalModel
from softprompt.tasks.encoded_example import SoftResponseTarget, get_supervision
from tests.distillation.targets import build_context, compute_outputs, encode, teach
from tests.strategies import random_prefix, seeds
from tests.tiny import shared_model


def llama() -> CausalModel:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    return model


def build_objective() -> ResponseDistillationObjective:
    objective, _ = teach(llama(), "generation")
    assert isinstance(objective, ResponseDistillationObjective)
    return objective


def compare_tokens(student: torch.Tensor, teacher: torch.Tensor, num_top: int) -> torch.Tensor:
    """Return the objective's values for logits of both, `[R, V]`."""
    objective = build_objective()
    objective.model.compute_logits = lambda hidden_states: hidden_states  # type: ignore[method-assign]
    try:
        top = teacher.log_softmax(1).topk(num_top)
        return objective._compare_tokens(student, teacher.argmax(1), top.indices, top.values)
    finally:
        del objective.model.compute_logits


def draw_logits(seed: int, scale: float, num_tokens: int = 384) -> torch.Tensor:
    return torch.randn(5, num_tokens, generator=torch.Generator().manual_seed(seed)) * scale


@given(seed=seeds, scale=st.sampled_from([0.1, 1.0, 4.0]))
def test_the_divergence_of_all_tokens_is_that_of_torch(seed: int, scale: float) -> None:
    student, teacher = draw_logits(seed, scale), draw_logits(seed + 1, scale)
    expected = torch.nn.functional.kl_div(
        student.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True
    ).sum(1)
    torch.testing.assert_close(compare_tokens(student, teacher, 384)[:, 0], expected, atol=1e-4, rtol=1e-4)


@given(seed=seeds, num_top=st.sampled_from([1, 2, 32, 383]))
def test_the_divergence_of_top_tokens_counts_all_others_as_one(seed: int, num_top: int) -> None:
    student, teacher = draw_logits(seed, 2.0), draw_logits(seed + 1, 2.0)
    p, q = teacher.softmax(1).double(), student.softmax(1).double()
    top = p.topk(num_top).indices
    p, q = (torch.cat([x.gather(1, top), 1 - x.gather(1, top).sum(1, keepdim=True)], dim=1) for x in (p, q))
    expected = (p * (p / q).log()).sum(1)
    found = compare_tokens(student, teacher, num_top)[:, 0].double()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@given(seed=seeds, num_top=st.sampled_from([1, 8, 384]))
def test_the_divergence_from_itself_is_zero_and_from_others_positive(seed: int, num_top: int) -> None:
    teacher = draw_logits(seed, 3.0)
    assert compare_tokens(teacher, teacher, num_top)[:, 0].abs().max() < 1e-5
    assert compare_tokens(draw_logits(seed + 1, 3.0), teacher, num_top)[:, 0].min() > -1e-6


@pytest.mark.parametrize("certain_one", ["teacher", "student", "both"])
def test_certain_tokens_have_finite_divergences_and_gradients(certain_one: str) -> None:
    """The other tokens together have no probability that float32 can express."""
    certain, uncertain = torch.full((5, 384), -200.0), draw_logits(0, 1.0)
    certain[:, 7] = 200.0
    student = (uncertain if certain_one == "teacher" else certain).clone().requires_grad_()
    teacher = uncertain if certain_one == "student" else certain
    values = compare_tokens(student, teacher, 8)
    values[:, 0].sum().backward()
    assert values.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_the_gradient_reduces_the_divergence() -> None:
    student, teacher = draw_logits(0, 1.0).requires_grad_(), draw_logits(1, 1.0)
    before = compare_tokens(student, teacher, 8)[:, 0].sum()
    before.backward()
    assert student.grad is not None
    assert compare_tokens(student - student.grad, teacher, 8)[:, 0].sum() < before


def test_outputs_are_the_likelihood_and_the_agreement_of_transformers() -> None:
    model = llama()
    objective, examples = teach(model, "generation")
    _, outputs = compute_outputs(objective, examples, [None] * len(examples))
    for example, output in zip(examples, outputs, strict=True):
        target = get_supervision(example, SoftResponseTarget)
        ids = torch.tensor([[*example.prompt_ids, *target.token_ids]])
        with torch.no_grad():
            logits = model.network(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor(target.token_ids), reduction="sum")
        torch.testing.assert_close(output[1], expected, atol=1e-3, rtol=1e-4)
        assert output[2] == (logits.argmax(1) == torch.tensor(target.token_ids)).sum()
        assert output[3] == len(target.token_ids)


def test_chunks_of_logits_do_not_change_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, examples = teach(llama(), "generation")
    prefix = random_prefix(llama(), 3, 0)
    whole = compute_outputs(objective, examples, [prefix] * len(examples))
    monkeypatch.setattr(response_distillation, "MAX_LOGITS", 3 * 384)
    torch.testing.assert_close(compute_outputs(objective, examples, [prefix] * len(examples)), whole)


def test_the_recovery_is_one_behind_the_whole_text_and_zero_without() -> None:
    model = llama()
    objective, examples = teach(model, "generation")
    context = build_context(model).prefix
    outputs = {p: compute_outputs(objective, examples, [p] * len(examples))[1].double() for p in (None, context)}
    without, behind = (float(o[:, 1].sum() / o[:, 3].sum()) for o in outputs.values())
    measured = ResponseDistillationObjective(objective.base, ResponseNLL(without, behind))  # type: ignore[arg-type]
    assert measured.compute_metrics(outputs[context].float(), examples)["recovery"] == pytest.approx(1, abs=1e-4)
    assert measured.compute_metrics(outputs[None].float(), examples)["recovery"] == pytest.approx(0, abs=1e-4)
    metrics = measured.compute_metrics(outputs[context].float(), examples)
    assert metrics["agreement"] == 1
    assert metrics["kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("with_context", [2.0, 2.00001, 1.99999, 3.0])
def test_a_text_that_changes_nothing_or_harms_has_no_recovery(with_context: float) -> None:
    """Otherwise the best step would be the one that is furthest from the teacher."""
    objective = ResponseDistillationObjective(build_objective().base, ResponseNLL(2.0, with_context))
    metrics = objective.compute_metrics(torch.tensor([[1.0, 8.0, 2.0, 4.0]]), [])
    assert "recovery" not in metrics
    assert objective.selection_key(metrics) == (-0.25,)


def test_a_larger_recovery_is_selected() -> None:
    objective = build_objective()
    assert objective.selection_key({"recovery": 0.5, "kl": 2}) > objective.selection_key({"recovery": 0.4, "kl": 1})


def test_scores_are_negated_mean_divergences() -> None:
    assert build_objective().score_examples(torch.tensor([[1.0, 8.0, 2.0, 4.0]]), []) == [-0.25]


def test_inputs_are_encoded_as_the_task_encodes_them() -> None:
    objective = build_objective()
    (example,) = encode(objective.base, ["the film"])
    assert example.supervision is None
    assert objective.max_length == objective.base.max_length
