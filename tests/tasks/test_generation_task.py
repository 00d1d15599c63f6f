"""Generation: the loss covers the response alone, and equals transformers' own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import Example
from softprompt.errors import RecordError, SettingError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import EncodedExample, GenerationTask, LinearHead, ResponseTarget
from softprompt.tasks.generation_task import GenerationObjective
from tests.strategies import causal_families
from tests.tiny import ending_at, shared_model

words = st.text("abcdefgh ", min_size=1, max_size=20)


def bound(model: FrozenModel, room: int = 128, template: str = "{input}\n") -> GenerationObjective:
    return GenerationTask(template=template).build_objective(model, room)


def example(**fields: object) -> Example:
    return Example(fields, "a.jsonl:5")


@given(family=causal_families, pairs=st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_loss_equals_that_of_transformers(family: str, pairs: list[tuple[str, str]]) -> None:
    model = shared_model(family)
    objective = bound(model)
    rows = [objective.encode_example(example(input=i, output=o)) for i, o in pairs]
    with torch.no_grad():
        batch = objective.collate(rows, None)
        losses = objective.compute_losses(objective.forward_batch(batch, None), batch)
        for row, loss in zip(rows, losses, strict=True):
            ids = torch.tensor([[*row.prompt_ids, *row.response_ids]])
            labels = torch.tensor([[*[-100] * len(row.prompt_ids), *row.response_ids]])
            expected = model.network(input_ids=ids, labels=labels).loss
            torch.testing.assert_close(loss / len(row.response_ids), expected, atol=1e-4, rtol=0)
    assert batch.example_weights.tolist() == [len(row.response_ids) for row in rows]


def test_logits_are_computed_only_for_supervised_tokens() -> None:
    model = shared_model("llama")
    objective = bound(model)
    rows = [
        objective.encode_example(example(input="scene " * 9, output="fun")),
        objective.encode_example(example(input="a", output="b")),
    ]
    batch = objective.collate(rows, None)
    assert len(batch.output_indices) == sum(len(row.response_ids) for row in rows)
    assert batch.targets.tolist() == [*rows[0].response_ids, *rows[1].response_ids]


@pytest.mark.parametrize("few", [1, 3, 1000])
def test_chunked_logits_give_the_same_gradient(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    objective = GenerationTask().build_objective(model, 100)
    rows = [
        objective.encode_example(Example({"input": "the film", "output": said}))
        for said in ("a bore", "great fun, lovely")
    ]
    batch, seen = objective.collate(rows, None), []
    logits = type(model).compute_logits

    def gradient() -> torch.Tensor:
        hidden = objective.forward_batch(batch, None).detach().requires_grad_()
        objective.compute_losses(hidden, batch).sum().backward()
        assert hidden.grad is not None
        return hidden.grad

    expected = gradient()

    def counted(self: FrozenModel, hidden: torch.Tensor, *arguments: object) -> torch.Tensor:
        seen.append(len(hidden))
        return logits(self, hidden, *arguments)

    monkeypatch.setattr(type(model), "compute_logits", counted)
    monkeypatch.setattr("softprompt.tasks.language_modeling_objective.MAX_LOGITS", few * model.shape.vocab_size)
    torch.testing.assert_close(gradient(), expected, atol=1e-6, rtol=0)
    assert max(seen) == min(few, len(batch.targets))


def test_response_follows_the_template_and_ends_with_eos() -> None:
    model = shared_model("llama")
    row = bound(model).encode_example(example(input="name: Aro", output="good food"))
    assert row.prompt_ids == model.prompt_tokenizer.encode_text("name: Aro\n")
    assert [*row.response_ids] == [*model.prompt_tokenizer.tokenize("good food"), model.eos_token_id]


def test_tokenizer_eos_is_trained_if_a_model_has_several() -> None:
    model = ending_at("llama", 7, 9)
    row = bound(model).encode_example(example(input="name: Aro", output="good food"))
    assert [*row.response_ids] == [*model.prompt_tokenizer.tokenize("good food"), 1]


def test_model_without_eos_cannot_train_but_generates() -> None:
    model = copy.copy(shared_model("llama"))
    model.eos_token_ids = ()
    with pytest.raises(TaskError, match="set `eos_token` in its tokenizer"):
        bound(model).encode_example(example(input="name: Aro", output="good food"))
    assert bound(model).encode_prompt(example(input="name: Aro"), 5).prompt_ids


def test_a_response_on_the_same_line_begins_with_a_space() -> None:
    model = shared_model("llama")
    row = bound(model, template="{input} It is:").encode_example(example(input="Aro", output="good"))
    assert [*row.response_ids] == [*model.prompt_tokenizer.tokenize(" good"), model.eos_token_id]


def test_too_long_response_is_rejected() -> None:
    with pytest.raises(RecordError, match=r"^a\.jsonl:5: the response has \d+ tokens, but only 20 fit in total$"):
        bound(shared_model("llama"), room=20).encode_example(example(input="a", output="scene " * 30))


def test_only_the_input_is_truncated() -> None:
    model = shared_model("llama")
    row = bound(model, room=30).encode_example(example(input="scene " * 40, output="good fun"))
    assert row.is_truncated
    assert [*row.response_ids] == [*model.prompt_tokenizer.tokenize("good fun"), model.eos_token_id]
    assert 28 <= len(row) <= 30


def test_first_reference_replaces_a_missing_output_in_training() -> None:
    model = shared_model("llama")
    row = bound(model).encode_example(example(input="a", references=["good fun", "a bore"]))
    assert [*row.response_ids] == [*model.prompt_tokenizer.tokenize("good fun"), model.eos_token_id]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"output": "one", "references": ["two", "three"]}, ["one"]),
        ({"references": ["two", "three"]}, ["two", "three"]),
        ({"references": "two"}, ["two"]),
    ],
)
def test_get_references_returns_the_output_or_else_all_references(
    fields: dict[str, object], expected: list[str]
) -> None:
    assert GenerationTask().get_references(example(**fields)) == expected


def test_references_come_from_the_response_field() -> None:
    assert GenerationTask(response_field="answer").get_references(example(answer="one", output="two")) == ["one"]


def test_record_without_response_is_rejected() -> None:
    with pytest.raises(RecordError, match="^a.jsonl:5: no field 'output' or 'references'; its fields are input$"):
        GenerationTask().prepare([example(input="a")])


def test_response_that_is_not_text_is_rejected() -> None:
    with pytest.raises(RecordError, match="^a.jsonl:5: field 'output' is list, not text$"):
        GenerationTask().prepare([example(input="a", output=["b"])])


def test_linear_head_is_rejected_for_generation() -> None:
    model = shared_model("llama")
    with pytest.raises(TaskError, match='`head="verbalizer"`'):
        GenerationTask().build_objective(model, 128, LinearHead(2, model.shape.hidden_size))


def test_prompt_leaves_space_for_the_response() -> None:
    objective = bound(shared_model("llama"), room=60)
    row = objective.encode_prompt(example(input="scene " * 90), max_new_tokens=40)
    assert row.is_truncated
    assert 18 <= len(row.prompt_ids) <= 20
    assert not row.response_ids


@pytest.mark.parametrize("max_new_tokens", [0, -1, 60, 1000])
def test_invalid_max_new_tokens_is_rejected(max_new_tokens: int) -> None:
    objective = bound(shared_model("llama"), room=60)
    with pytest.raises(SettingError, match=f"`max_new_tokens={max_new_tokens}`: choose 1 to 59"):
        objective.encode_prompt(example(input="a"), max_new_tokens)


def test_perplexity_is_weighted_by_tokens() -> None:
    objective = bound(shared_model("llama"))
    figures = objective.compute_metrics(
        torch.tensor([[6.0, 2.0], [1.0, 5.0]]),
        [EncodedExample([1], ResponseTarget.from_tokens([2])), EncodedExample([1], ResponseTarget.from_tokens([2]))],
    )
    assert figures["loss"] == 1.0
    assert figures["perplexity"] == pytest.approx(math.e)
    assert next(iter(figures)) == "perplexity"


def test_perplexity_of_an_enormous_loss_is_finite() -> None:
    figures = bound(shared_model("llama")).compute_metrics(
        torch.tensor([[5000.0, 1.0]]), [EncodedExample([1], ResponseTarget.from_tokens([2]))]
    )
    assert math.isfinite(figures["perplexity"])


def test_selection_prefers_the_lower_loss() -> None:
    quality = bound(shared_model("llama")).selection_key
    assert quality({"loss": 1.0}) > quality({"loss": 1.1})
