"""Context-aware prompt tuning: frozen parts, bounded updates, and the demonstrations that it needs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.data import Example
from softprompt.errors import SettingError, TaskError
from softprompt.model import FrozenModel, Placement
from softprompt.prompts import TUNING_METHODS, PromptOptions, build_prompt
from softprompt.prompts.context_aware_prompt import ANSWER_WEIGHT_DECAY, RELATIVE_RADIUS, ContextAwarePrompt
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, FewShotContext, GenerationTask
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.prompt_trainable import PromptTrainable
from tests.conftest import REVIEWS
from tests.tiny import FAMILIES, shared_model, tiny_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]
EXAMPLES = [Example(row, f"reviews.jsonl:{i}") for i, row in enumerate(REVIEWS, start=1)]
TASK = ClassificationTask(labels=("good", "bad"))
ROOM = 60
SMALL: dict[str, Any] = {"method": "context", "num_virtual_tokens": ROOM, "max_steps": 2, "batch_size": 4}


def shown(model: FrozenModel, room: int = ROOM) -> FewShotContext:
    return TASK.select_demonstrations(model, EXAMPLES, room)


def built(model: FrozenModel, opening: str | FewShotContext | None = None, **options: Any) -> ContextAwarePrompt:
    choices = PromptOptions("context", ROOM, **options)
    prompt, _ = build_prompt(choices, model, opening or shown(model), TASK.labels)
    assert isinstance(prompt, ContextAwarePrompt)
    return prompt


def trained(model: FrozenModel, prompt: ContextAwarePrompt, steps: int, rate: float = 0.03) -> list[float]:
    """What each step's update begins with: the rows' loss and the context's, together."""
    objective = TASK.build_objective(model, 128 - ROOM, prompt.head)
    rows = [objective.encode_example(example) for example in EXAMPLES]
    optimiser = ScheduledOptimizer(
        PromptTrainable(prompt), rate, steps, warmup_ratio=0.1, weight_decay=0.0, max_grad_norm=1.0
    )
    losses = []
    for step in range(steps):
        losses.append(PromptTrainable(prompt).accumulate_gradients(objective, rows, len(rows)).total_loss)
        optimiser.apply_gradients(step, losses[-1])
    return losses


@torch.no_grad()
def moved(prompt: ContextAwarePrompt) -> torch.Tensor:
    """How far each token is from where it started, `[P]`."""
    return (prompt().tensor - prompt.start).norm(dim=1)


def test_a_context_prompt_starts_as_the_embeddings_of_its_demonstrations() -> None:
    model = shared_model("llama")
    context = shown(model)
    text = "the film was great fun\nLabel: good\n\nthe film was a bore\nLabel: bad\n\n"
    assert model.tokenizer.decode(context.token_ids).startswith(text)
    row = TASK.build_objective(model, 100).encode_example(EXAMPLES[0])
    begin = context.answer_ranges[0].start
    assert [model.prompt_tokenizer.bos_token_id, *context.token_ids[:begin]] == row.prompt_ids
    assert [context.token_ids[place] for place in context.answer_ranges[0]] == model.prompt_tokenizer.tokenize(" good")
    prompt, used = build_prompt(PromptOptions("context", ROOM), model, context, TASK.labels)
    words = model.embed_tokens(torch.tensor([context.token_ids]))[0]
    assert torch.equal(prompt().tensor, words)
    assert prompt().num_virtual_tokens == len(context.token_ids) <= ROOM
    assert used.startswith(f"{len(context.answer_ranges)} examples with their answers: 'the film was great fun")


def test_training_keeps_answers_unchanged_and_other_tokens_within_the_radius() -> None:
    model = shared_model("llama")
    prompt, context = built(model), shown(model)
    trained(model, prompt, steps=20, rate=1.0)
    answers = [place for answer in context.answer_ranges for place in answer]
    others = [place for place in range(len(context.token_ids)) if place not in answers]
    radius = RELATIVE_RADIUS * model.embedding_rms * math.sqrt(24)
    assert torch.equal(prompt().tensor[answers], prompt.start[answers])
    assert prompt.num_parameters == len(others) * 24
    assert moved(prompt)[others].min() > 0
    assert moved(prompt)[others].max() == pytest.approx(radius, rel=1e-4)
    assert moved(prompt).max() <= radius


def test_projecting_a_context_prompt_twice_equals_projecting_it_once() -> None:
    """Otherwise a run would depend on how often it was evaluated."""
    prompt = built(shared_model("llama"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for scale in (1e-6, 0.1, 1.0, 1e6):
            prompt.shift.copy_(scale * torch.randn(prompt.shift.shape, generator=generator))
            once = prompt().tensor.clone()
            assert torch.equal(prompt().tensor, once)
            assert moved(prompt).max() <= prompt.radius


def test_projecting_a_context_prompt_keeps_a_nan() -> None:
    prompt = built(shared_model("llama"))
    with torch.no_grad():
        prompt.shift[0, 0] = math.nan
        assert prompt().tensor.isnan().any()


@pytest.mark.parametrize(
    ("family", "placement"),
    [("llama", Placement.BEFORE), ("llama", Placement.AFTER_BOS), ("gpt2", Placement.BEFORE)],
)
def test_the_auxiliary_loss_is_the_decayed_loss_of_the_answers(family: str, placement: Placement) -> None:
    """By hand, with the plain network: each answer's mean, the last one's times 0.95, the one's before 0.95 squared."""
    model = shared_model(family)
    context = shown(model)
    ids = (
        [model.prompt_tokenizer.bos_token_id, *context.token_ids]
        if placement is Placement.AFTER_BOS
        else list(context.token_ids)
    )
    before = len(ids) - len(context.token_ids)
    with torch.no_grad():
        log_probabilities = model.network(torch.tensor([ids])).logits[0].log_softmax(dim=1)
        expected = 0.0
        for distance, answer in enumerate(reversed(context.answer_ranges), start=1):
            places = [before + place for place in answer]
            losses = [-float(log_probabilities[place - 1, ids[place]]) for place in places]
            expected += ANSWER_WEIGHT_DECAY**distance * sum(losses) / len(losses)
        own = built(model, placement=placement).compute_auxiliary_loss(model)
    assert own is not None
    assert float(own) == pytest.approx(expected, rel=1e-5)


def test_the_tokens_of_a_long_answer_share_the_weight_of_one_answer() -> None:
    model = shared_model("llama")
    task = ClassificationTask(labels=("good", "bad"), words={"good": "great fun", "bad": "a bore"})
    context = task.select_demonstrations(model, EXAMPLES, ROOM)
    prompt, _ = build_prompt(PromptOptions("context", ROOM), model, context)
    assert isinstance(prompt, ContextAwarePrompt)
    assert {len(answer) for answer in context.answer_ranges} == {2}
    weights = prompt.answer_weights.view(len(context.answer_ranges), 2)
    n = len(context.answer_ranges)
    expected = torch.tensor([ANSWER_WEIGHT_DECAY ** (n - i) for i in range(n)])
    torch.testing.assert_close(weights.sum(dim=1), expected)
    torch.testing.assert_close(weights[:, 0], weights[:, 1])


@pytest.mark.parametrize("family", FAMILIES)
def test_training_a_context_prompt_decreases_the_loss_on_every_family(family: str) -> None:
    model = shared_model(family)
    losses = trained(model, built(model), steps=20)
    assert losses[-1] < 0.9 * losses[0]


def test_a_step_adds_the_auxiliary_gradient_and_reports_the_loss_of_the_examples() -> None:
    model = shared_model("llama")
    objective = TASK.build_objective(model, 128 - ROOM)
    rows = [objective.encode_example(example) for example in EXAMPLES[:4]]

    class WithoutOwn(ContextAwarePrompt):
        compute_auxiliary_loss = SoftPrompt.compute_auxiliary_loss

    prompt, plain = built(model), built(model)
    plain.__class__ = WithoutOwn
    found = [PromptTrainable(each).accumulate_gradients(objective, rows, 4) for each in (prompt, plain)]
    assert found[0]._replace(auxiliary_loss=0.0) == found[1]
    own = built(model)
    own_loss = own.compute_auxiliary_loss(model)
    assert own_loss is not None
    assert found[0].auxiliary_loss == pytest.approx(float(own_loss.detach()), rel=1e-5)
    own_loss.backward()
    torch.testing.assert_close(prompt.shift.grad, plain.shift.grad + own.shift.grad)


def test_a_context_prompt_from_a_given_text_has_no_auxiliary_loss() -> None:
    model = shared_model("llama")
    text = "the film was great fun"
    prompt = built(model, init=f"text:{text}")
    ids = model.prompt_tokenizer.tokenize(text)
    assert torch.equal(prompt().tensor, model.embed_tokens(torch.tensor([ids]))[0])
    assert prompt.compute_auxiliary_loss(model) is None
    assert prompt.num_parameters == len(ids) * 24
    cut, used = build_prompt(PromptOptions("context", 3, init=f"text:{text}"), model, shown(model))
    assert cut().num_virtual_tokens == 3
    assert "cut from" in used
    with pytest.raises(SettingError, match="the initial text is empty"):
        build_prompt(PromptOptions("context", 3), model, "")


def test_demonstrations_are_as_many_distinct_examples_as_fit_with_alternating_labels() -> None:
    model = shared_model("llama")
    doubled = [example for example in EXAMPLES for _ in range(3)]
    texts = []
    for room in (40, 60, 100):
        context = TASK.select_demonstrations(model, doubled, room)
        assert len(context.token_ids) <= room
        parts = model.tokenizer.decode(context.token_ids).removesuffix("\n\n").split("\n\n")
        assert len(parts) == len(context.answer_ranges) == len(set(parts))
        said = [part.split(": ")[1] for part in parts]
        assert said == (["good", "bad"] * len(parts))[: len(parts)]
        texts.append(len(parts))
    assert texts == sorted(texts)
    assert texts[0] < texts[-1]
    assert TASK.select_demonstrations(model, doubled, 100) == TASK.select_demonstrations(model, EXAMPLES, 100)


def test_a_text_with_two_labels_is_demonstrated_once() -> None:
    examples = [Example({"text": text, "label": label}) for label in TASK.labels for text in ("a film", f"a {label}")]
    context = TASK.select_demonstrations(shared_model("llama"), examples, 100)
    text = shared_model("llama").tokenizer.decode(context.token_ids)
    assert Counter(text.split("\n"))["a film"] == 1


def test_a_long_demonstration_does_not_displace_another_label() -> None:
    model = shared_model("llama")
    texts = [("the film " * 12, "good"), ("a bore", "bad"), ("fun", "good"), ("awful", "bad")]
    examples = [Example({"text": text, "label": label}) for text, label in texts]
    text = model.tokenizer.decode(TASK.select_demonstrations(model, examples, 50).token_ids)
    assert text == "fun\nLabel: good\n\na bore\nLabel: bad\n\n"


def test_demonstrations_of_a_generation_task_contain_the_responses() -> None:
    model = shared_model("llama")
    task = GenerationTask(template="{input}\nfood:", response_field="output")
    examples = [Example({"input": f"name {name}", "output": f"{name} serves tea"}) for name in ("fish", "rice", "fish")]
    context = task.select_demonstrations(model, examples, 100)
    text = "name fish\nfood: fish serves tea\n\nname rice\nfood: rice serves tea\n\n"
    assert model.tokenizer.decode(context.token_ids) == text
    said = [model.tokenizer.decode([context.token_ids[place] for place in answer]) for answer in context.answer_ranges]
    assert said == [" fish serves tea", " rice serves tea"]
    with pytest.raises(SettingError, match="a whole example with its answer does not fit in 5 virtual tokens"):
        task.select_demonstrations(model, examples, 5)


def test_the_error_of_too_few_virtual_tokens_states_the_required_number() -> None:
    model = shared_model("llama")
    with pytest.raises(SettingError, match="each of the 2 labels .* `num_virtual_tokens=(\\d+)`") as caught:
        shown(model, 10)
    need = int(str(caught.value).split("num_virtual_tokens=")[1].split("`")[0])
    assert len(shown(model, need).answer_ranges) >= 2
    with pytest.raises(SettingError, match="does not fit"):
        shown(model, need - 1)
    with pytest.raises(TaskError, match="no example has an answer"):
        TASK.select_demonstrations(model, [], 60)


@pytest.mark.parametrize("init", ["labels", "vocab", "random", "zeros", "prompt:p"])
def test_initializers_other_than_text_are_rejected(init: str, reviews: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"unknown init '{init.split(':')[0]}': one of text"):
        softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", init=init, **SMALL)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_models_that_are_not_causal_are_rejected(family: str, reviews: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="context supports causal models"):
        softprompt.tune(tiny_model(family), data=reviews, output=tmp_path / "p", **SMALL)


@pytest.mark.parametrize("placement", ["after-text", "in-template"])
def test_placements_that_a_context_prompt_does_not_support_are_rejected(
    placement: str, reviews: Path, tmp_path: Path
) -> None:
    template = {"template": "[P1-60] {text} so"} if placement == "in-template" else {"placement": placement}
    with pytest.raises(SettingError, match=f"context does not support `placement` {placement}"):
        softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", **template, **SMALL)


TAGGED = [{"tokens": ["fish", "tea"], "tags": ["A", "B"]}, {"tokens": ["rice"], "tags": ["A"]}]
CHATS = [{"messages": [{"role": "user", "content": "fish"}, {"role": "assistant", "content": "tea"}]}]
FACTS = [{"question": "which?", "context": "it serves tea", "answer": "tea"}]


@pytest.mark.parametrize(("kind", "rows"), [("token-classification", TAGGED), ("chat", CHATS), ("extraction", FACTS)])
def test_tasks_whose_examples_do_not_end_in_an_answer_are_rejected(
    kind: str, rows: list[Any], tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    data = write_jsonl("rows.jsonl", rows)
    with pytest.raises(TaskError, match=f"examples of {kind} do not"):
        softprompt.tune(tiny_model("llama"), data=data, output=tmp_path / "p", **SMALL)


@pytest.mark.parametrize("head", ["verbalizer", "linear"])
@pytest.mark.parametrize("placement", ["before", "after-bos"])
def test_a_context_prompt_is_tuned_and_saved(head: str, placement: str, reviews: Path, tmp_path: Path) -> None:
    settings = {"head": head, "placement": placement, **SMALL}
    tuned = softprompt.tune(tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", **settings)
    saved = SavedPrompt.from_folder(tmp_path / "p")
    assert saved.payload.num_virtual_tokens <= ROOM
    assert (saved.head is None) == (head == "verbalizer")
    assert (saved.peft_incompatibility is None) == (head == "verbalizer" and placement == "before")
    start = json.loads((tmp_path / "p.run" / "run.json").read_text())["start"]
    assert "examples with their answers: " in start
    assert saved.manifest.trained_parameters < saved.payload.tensor.numel() + (0 if saved.head is None else 2 * 24 + 2)
    assert tuned.steps == 2


def test_a_context_prompt_is_tuned_for_a_generation_task(pairs: Path, tmp_path: Path) -> None:
    softprompt.tune(tiny_model("llama"), data=pairs, output=tmp_path / "p", **SMALL)
    assert SavedPrompt.from_folder(tmp_path / "p").payload.num_virtual_tokens <= ROOM


def test_a_nan_auxiliary_loss_stops_the_run(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_loss = ContextAwarePrompt.compute_auxiliary_loss

    def compute_auxiliary_loss(self: ContextAwarePrompt, model: FrozenModel) -> torch.Tensor:
        loss = true_loss(self, model)
        assert loss is not None
        return loss * math.nan

    monkeypatch.setattr(ContextAwarePrompt, "compute_auxiliary_loss", compute_auxiliary_loss)
    with pytest.raises(softprompt.SoftPromptError, match="the loss or its gradient was not a number at step 1"):
        softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", **SMALL)


def test_the_radius_follows_the_scale_of_the_embeddings() -> None:
    model, larger = tiny_model("llama"), tiny_model("llama")
    with torch.no_grad():
        larger.network.get_input_embeddings().weight.mul_(10)
    assert built(larger).radius == pytest.approx(10 * built(model).radius, rel=1e-5)
    assert TUNING_METHODS["context"].get_default_learning_rate(larger) == pytest.approx(
        10 * TUNING_METHODS["context"].get_default_learning_rate(model)
    )


def test_an_example_that_does_not_fit_is_not_demonstrated() -> None:
    examples = [Example({"input": "a", "output": "the film " * 40}), Example({"input": "b", "output": "tea"})]
    model = shared_model("llama")
    assert model.tokenizer.decode(GenerationTask().select_demonstrations(model, examples, 20).token_ids) == "b\ntea\n\n"
