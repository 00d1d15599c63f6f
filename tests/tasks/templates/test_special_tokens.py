"""Special tokens that both the template and the model add occur once."""

from __future__ import annotations

import copy

import pytest

from softprompt.data import Example
from softprompt.model import freeze_network
from softprompt.model.payload import get_placeholder_id
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, LinearHead, TokenClassificationTask
from softprompt.tasks.templates.template import Template
from tests.tiny import shared_model, tiny_model, tiny_tokenizer

EXAMPLE = Example(
    {"text": "a bore", "label": "bad", "input": "a bore", "output": "no", "tokens": ["a", "bore"], "tags": ["O", "X"]}
)


def ids(family: str, template: str) -> list[int]:
    return Template(template).encode_example(shared_model(family), EXAMPLE, 60)[0]


@pytest.mark.parametrize(
    ("family", "written", "plain"),
    [
        ("llama", "<s>{text} so", "{text} so"),
        ("llama", "<s><s>{text} so", "{text} so"),
        ("llama", "<s>Review: {text} so", "Review: {text} so"),
        ("bert", "[CLS]{text} so[SEP]", "{text} so"),
        ("bert", "[CLS]{text} so [MASK][SEP]", "{text} so [MASK]"),
        ("t5", "{text} so</s>", "{text} so"),
        ("bart", "<s>{text} so</s>", "{text} so"),
    ],
)
def test_special_tokens_of_the_model_are_not_duplicated(family: str, written: str, plain: str) -> None:
    assert ids(family, written) == ids(family, plain)


def test_special_tokens_after_leading_markers_are_not_duplicated() -> None:
    assert ids("llama", "[P1-2]<s>{text}") == [
        0,
        get_placeholder_id(0),
        get_placeholder_id(1),
        *ids("llama", "{text}")[1:],
    ]


@pytest.mark.parametrize(
    ("family", "template"),
    [("llama", "{text} so</s>"), ("llama", "{text}</s><s>so"), ("qwen2", "<s>{text} so"), ("bert", "{text}[SEP]so")],
)
def test_special_tokens_that_the_model_does_not_add_are_not_removed(family: str, template: str) -> None:
    model = shared_model(family)
    plain = template.replace("</s>", "").replace("<s>", "").replace("[SEP]", "")
    assert len(ids(family, template)) == len(ids(family, plain)) + template.count("s>") + template.count("[SEP]")
    assert Template(template).find_duplicate_special_tokens(model) == []


def test_special_tokens_in_a_field_are_encoded_as_text() -> None:
    model = shared_model("llama")
    found = Template("{text}").encode_example(model, Example({"text": "<s>a bore"}), 60)[0]
    assert found.count(0) == 1
    assert "<s>a bore" in model.tokenizer.decode(found)


def test_word_positions_do_not_change_with_a_duplicate_special_token_in_the_template() -> None:
    model = shared_model("llama")
    rows = []
    for template in ("<s>so {tokens}", "so {tokens}"):
        task = TokenClassificationTask(labels=("O", "X"), template=template)
        rows.append(task.build_objective(model, 60, LinearHead(2, model.shape.hidden_size)).encode_example(EXAMPLE))
    assert rows[0] == rows[1]


def test_encoded_examples_do_not_change_with_a_duplicate_special_token_in_the_template() -> None:
    model = shared_model("llama")
    for task in (ClassificationTask(labels=("good", "bad")), GenerationTask()):
        written = task.model_copy(update={"template": "<s>" + task.template})
        assert written.build_objective(model, 60).encode_example(EXAMPLE) == task.build_objective(
            model, 60
        ).encode_example(EXAMPLE)


@pytest.mark.parametrize("begins", ["{{ bos_token }}", ""])
def test_chat_has_one_bos_whether_or_not_its_template_writes_one(begins: str) -> None:
    base = tiny_model("llama")
    tokenizer = copy.deepcopy(tiny_tokenizer(bos=True))
    tokenizer.chat_template = (
        begins
        + "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        + "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    model = freeze_network(base.network, tokenizer, "chatting")
    messages = [{"role": "user", "content": "<s> hi"}, {"role": "assistant", "content": "no"}]
    objective = ChatTask().build_objective(model, 100)
    row = objective.encode_example(Example({"messages": messages}))
    assert (row.prompt_ids[0], [*row.prompt_ids, *row.response_ids].count(0)) == (0, 1)
    asked = objective.encode_prompt(Example({"messages": messages}), 4)
    assert (asked.prompt_ids[0], asked.prompt_ids.count(0)) == (0, 1)
