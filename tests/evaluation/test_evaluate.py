"""Evaluation of a prompt and the hard prompt."""

from __future__ import annotations

import logging

import pytest
import torch

from softprompt.data import Example
from softprompt.evaluation import SamplingParams, evaluate
from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.evaluation.evaluate import compute_hard_prompt_metrics
from softprompt.model import PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.tasks import ChatTask, ClassificationTask, ExtractiveQATask, LinearHead, Task, TokenClassificationTask
from tests.chat_templates import OTHER_TEMPLATES, SYSTEM_TEMPLATES, chat_model
from tests.distillation.exact_form import distil_exactly
from tests.tiny import shared_model

TASKS: tuple[tuple[str, Task, Example], ...] = (
    ("bert", ClassificationTask(labels=("bad", "good")), Example({"text": "a bore", "label": "bad"})),
    ("llama", TokenClassificationTask(labels=("O", "X")), Example({"tokens": ["a", "bore"], "tags": ["O", "X"]})),
    ("llama", ExtractiveQATask(), Example({"question": "what", "context": "a bore", "answer": "bore"})),
)


@pytest.mark.parametrize(("family", "task", "example"), TASKS, ids=lambda each: getattr(each, "kind", None))
def test_a_prompt_with_a_head_has_no_hard_prompt_and_no_warning(
    family: str, task: Task, example: Example, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("softprompt").propagate = True
    base = shared_model(family)
    payload = PromptEmbeddings(
        base.embed_tokens(torch.tensor([base.prompt_tokenizer.tokenize("the film")]))[0].detach()
    )
    head = LinearHead(2, base.shape.hidden_size)
    prompt = SavedPrompt.from_payload(base, payload, task, method={"name": "prompt"}, trained_parameters=1, head=head)
    assert evaluate(base, prompt, [example])["hard_prompt"] is None
    assert caplog.records == []


@pytest.mark.parametrize("template", [*SYSTEM_TEMPLATES, *OTHER_TEMPLATES])
def test_the_hard_prompt_of_a_distilled_chat_has_the_system_message_of_the_chat_template(template: str) -> None:
    """Otherwise it would begin in the middle of a system turn."""
    model = chat_model({**SYSTEM_TEMPLATES, **OTHER_TEMPLATES}[template])
    prompt = distil_exactly(model, "the film was fun")
    turns = [{"role": "user", "content": "the film"}, {"role": "assistant", "content": "was fun"}]
    examples = [Example({"messages": turns})]
    objective = ChatTask().build_objective(model, model.shape.window)
    expected = compute_metrics(objective, None, list(objective.encode_examples(examples)))
    found = evaluate(model, prompt, examples, sampling=SamplingParams(3))["hard_prompt"]
    assert found["loss"] == pytest.approx(expected["loss"])
    assert compute_hard_prompt_metrics(model, prompt.manifest.task, examples) == pytest.approx(expected)
