"""The teacher of responses: its greedy responses and probabilities are those of transformers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softprompt.distillation import response_teacher
from softprompt.distillation.response_teacher import ResponseTeacher
from softprompt.model import CausalModel
from softprompt.tasks import EncodedExample, ResponseTarget
from softprompt.tasks.encoded_example import SoftResponseTarget, get_supervision
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from tests.distillation.targets import INPUTS, build_base, build_context, encode
from tests.tiny import FAMILIES, ending_at, shared_model


def answer(model: CausalModel, num_top: int = 8, max_new_tokens: int = 6) -> list[EncodedExample]:
    base = build_base(model, "generation")
    assert isinstance(base, LanguageModelingObjective)
    teacher = ResponseTeacher(base, build_context(model), max_new_tokens, num_top)
    return teacher.add_targets(encode(base, INPUTS))


def whole_ids(model: CausalModel, example: EncodedExample) -> list[int]:
    """Return the ids of the text and an input."""
    context = build_context(model)
    return [*context.token_ids, *example.prompt_ids[int(context.prefix.has_bos) :]]


@pytest.mark.parametrize("family", FAMILIES)
def test_responses_equal_those_of_transformers_behind_the_text(family: str) -> None:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    for example in answer(model):
        ids = torch.tensor([whole_ids(model, example)])
        written = model.network.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=2
        )[0, ids.shape[1] :]
        assert list(example.response_ids) == written.tolist()


@pytest.mark.parametrize("num_top", [1, 8, 384, 9999])
def test_probabilities_equal_those_of_transformers_behind_the_text(num_top: int) -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    for example in answer(model, num_top):
        target = get_supervision(example, SoftResponseTarget)
        ids = whole_ids(model, example)
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([[*ids, *target.token_ids]])).logits[0, len(ids) - 1 : -1]
        expected = logits.log_softmax(1)
        values, indices = expected.topk(min(num_top, 384))
        torch.testing.assert_close(target.top_log_probs, values, atol=1e-4, rtol=0)
        torch.testing.assert_close(expected.gather(1, target.top_token_ids), values, atol=1e-4, rtol=0)
        assert target.top_token_ids[:, 0].tolist() == indices[:, 0].tolist() == list(target.token_ids)


def test_a_response_ends_with_the_token_that_ended_it() -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    first = answer(model)[0].response_ids[1]
    ended = ending_at("llama", first)
    assert isinstance(ended, CausalModel)
    response = answer(ended)[0].response_ids
    assert response[-1] == first
    assert len(response) <= 2


def test_a_known_response_is_kept() -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    base = build_base(model, "generation")
    assert isinstance(base, LanguageModelingObjective)
    inputs = encode(base, INPUTS)
    inputs[2] = replace(inputs[2], supervision=ResponseTarget.from_tokens([9, 10, 11]))
    answered = ResponseTeacher(base, build_context(model), 4, 8).add_targets(inputs)
    assert answered[2].response_ids == (9, 10, 11)
    assert get_supervision(answered[2], SoftResponseTarget).top_log_probs.shape == (3, 8)


def test_batches_do_not_change_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    together = answer(model)
    monkeypatch.setattr(response_teacher, "DECODING_BATCH_SIZE", 1)
    for one, other in zip(answer(model), together, strict=True):
        assert one.response_ids == other.response_ids
        one_target, other_target = (get_supervision(e, SoftResponseTarget) for e in (one, other))
        torch.testing.assert_close(one_target.top_log_probs, other_target.top_log_probs, atol=1e-4, rtol=0)
