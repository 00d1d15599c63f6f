"""Writing a response: the loss is on the response alone, and is transformers' own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import Example
from softprompt.errors import RowError, SettingError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import GenerationTask, LinearHead, Row
from softprompt.tasks.generation import GenerationObjective
from tests.strategies import causal_families
from tests.tiny import ending_at, shared_model

words = st.text("abcdefgh ", min_size=1, max_size=20)


def bound(model: FrozenModel, room: int = 128, template: str = "{input}\n") -> GenerationObjective:
    return GenerationTask(template=template).bind(model, room)


def example(**fields: object) -> Example:
    return Example(fields, "a.jsonl:5")


@given(family=causal_families, pairs=st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_the_loss_is_transformers_own(family: str, pairs: list[tuple[str, str]]) -> None:
    model = shared_model(family)
    objective = bound(model)
    rows = [objective.encode(example(input=i, output=o)) for i, o in pairs]
    with torch.no_grad():
        batch = objective.collate(rows, None)
        losses = objective.losses(objective.read(batch, None), batch)
        for row, loss in zip(rows, losses, strict=True):
            ids = torch.tensor([[*row.prompt, *row.response]])
            labels = torch.tensor([[*[-100] * len(row.prompt), *row.response]])
            expected = model.network(input_ids=ids, labels=labels).loss
            torch.testing.assert_close(loss / len(row.response), expected, atol=1e-4, rtol=0)
    assert batch.weights.tolist() == [len(row.response) for row in rows]


def test_logits_exist_only_where_the_response_is_learnt() -> None:
    model = shared_model("llama")
    objective = bound(model)
    rows = [
        objective.encode(example(input="scene " * 9, output="fun")),
        objective.encode(example(input="a", output="b")),
    ]
    batch = objective.collate(rows, None)
    assert len(batch.reads) == sum(len(row.response) for row in rows)
    assert batch.targets.tolist() == [*rows[0].response, *rows[1].response]


@pytest.mark.parametrize("few", [1, 3, 1000])
def test_logits_of_a_few_tokens_at_a_time_give_the_same_gradient(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    objective = GenerationTask().bind(model, 100)
    rows = [
        objective.encode(Example({"input": "the film", "output": said})) for said in ("a bore", "great fun, lovely")
    ]
    batch, seen = objective.collate(rows, None), []
    logits = type(model).logits

    def gradient() -> torch.Tensor:
        hidden = objective.read(batch, None).detach().requires_grad_()
        objective.losses(hidden, batch).sum().backward()
        assert hidden.grad is not None
        return hidden.grad

    expected = gradient()

    def counted(self: FrozenModel, hidden: torch.Tensor, *arguments: object) -> torch.Tensor:
        seen.append(len(hidden))
        return logits(self, hidden, *arguments)

    monkeypatch.setattr(type(model), "logits", counted)
    monkeypatch.setattr("softprompt.tasks.writing.LOGITS", few * model.shape.vocab_size)
    torch.testing.assert_close(gradient(), expected, atol=1e-6, rtol=0)
    assert max(seen) == min(few, len(batch.targets))


def test_a_response_follows_the_template_and_ends() -> None:
    model = shared_model("llama")
    row = bound(model).encode(example(input="name: Aro", output="good food"))
    assert row.prompt == model.row(model.tokenize("name: Aro\n"))
    assert row.response == [*model.tokenize("good food"), model.eos]


def test_a_model_with_several_end_tokens_learns_its_tokenizers_own() -> None:
    model = ending_at("llama", 7, 9)
    row = bound(model).encode(example(input="name: Aro", output="good food"))
    assert row.response == [*model.tokenize("good food"), 1]


def test_a_model_without_an_end_token_learns_no_response_and_still_writes() -> None:
    model = copy.copy(shared_model("llama"))
    model.eos_token_ids = ()
    with pytest.raises(TaskError, match="give its tokenizer an `eos_token`"):
        bound(model).encode(example(input="name: Aro", output="good food"))
    assert bound(model).encode_prompt(example(input="name: Aro"), 5).prompt


def test_a_response_on_the_same_line_begins_with_a_space() -> None:
    model = shared_model("llama")
    row = bound(model, template="{input} It is:").encode(example(input="Aro", output="good"))
    assert row.response == [*model.tokenize(" good"), model.eos]


def test_a_response_that_does_not_fit_is_named() -> None:
    with pytest.raises(RowError, match=r"^a\.jsonl:5: the response needs \d+ tokens where 20 fit in all$"):
        bound(shared_model("llama"), room=20).encode(example(input="a", output="scene " * 30))


def test_the_input_is_cut_and_the_response_is_not() -> None:
    model = shared_model("llama")
    row = bound(model, room=30).encode(example(input="scene " * 40, output="good fun"))
    assert row.cut
    assert row.response == [*model.tokenize("good fun"), model.eos]
    assert 28 <= len(row) <= 30


def test_references_are_learnt_from_where_there_is_no_output() -> None:
    model = shared_model("llama")
    row = bound(model).encode(example(input="a", references=["good fun", "a bore"]))
    assert row.response == [*model.tokenize("good fun"), model.eos]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"output": "one", "references": ["two", "three"]}, ["one"]),
        ({"references": ["two", "three"]}, ["two", "three"]),
        ({"references": "two"}, ["two"]),
    ],
)
def test_what_is_right(fields: dict[str, object], expected: list[str]) -> None:
    assert GenerationTask().references(example(**fields)) == expected


def test_another_response_field() -> None:
    assert GenerationTask(response_field="answer").references(example(answer="one", output="two")) == ["one"]


def test_a_row_with_nothing_to_learn_is_named() -> None:
    with pytest.raises(RowError, match="^a.jsonl:5: no field 'output' or 'references': it has input$"):
        GenerationTask().prepared([example(input="a")])


def test_a_response_that_is_no_text_is_named() -> None:
    with pytest.raises(RowError, match="^a.jsonl:5: field 'output' is list, not text$"):
        GenerationTask().prepared([example(input="a", output=["b"])])


def test_a_head_cannot_write() -> None:
    model = shared_model("llama")
    with pytest.raises(TaskError, match='`head="verbalizer"`'):
        GenerationTask().bind(model, 128, LinearHead(2, model.shape.hidden_size))


def test_a_prompt_leaves_room_for_the_response() -> None:
    objective = bound(shared_model("llama"), room=60)
    row = objective.encode_prompt(example(input="scene " * 90), max_new_tokens=40)
    assert row.cut
    assert 18 <= len(row.prompt) <= 20
    assert row.response == []


@pytest.mark.parametrize("max_new_tokens", [0, -1, 60, 1000])
def test_a_response_of_a_length_that_cannot_be(max_new_tokens: int) -> None:
    objective = bound(shared_model("llama"), room=60)
    with pytest.raises(SettingError, match=f"`max_new_tokens={max_new_tokens}`: choose 1 to 59"):
        objective.encode_prompt(example(input="a"), max_new_tokens)


def test_perplexity_weighs_tokens_and_not_rows() -> None:
    objective = bound(shared_model("llama"))
    figures = objective.metrics(torch.tensor([[6.0, 2.0], [1.0, 5.0]]), [Row([1], [2]), Row([1], [2])])
    assert figures["loss"] == 1.0
    assert figures["perplexity"] == pytest.approx(math.e)
    assert next(iter(figures)) == "perplexity"


def test_an_enormous_loss_has_a_perplexity() -> None:
    figures = bound(shared_model("llama")).metrics(torch.tensor([[5000.0, 1.0]]), [Row([1], [2])])
    assert math.isfinite(figures["perplexity"])


def test_better_is_less_loss() -> None:
    quality = bound(shared_model("llama")).quality
    assert quality({"loss": 1.0}) > quality({"loss": 1.1})
