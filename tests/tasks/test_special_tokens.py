"""Special tokens that a template writes and the model adds: each stands there once."""

from __future__ import annotations

import copy

import pytest

from softprompt.data import Example
from softprompt.model import frozen
from softprompt.model.payload import placeholder
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, LinearHead, TaggingTask
from softprompt.tasks.template import Template
from tests.tiny import shared_model, tiny_model, tiny_tokenizer

EXAMPLE = Example(
    {"text": "a bore", "label": "bad", "input": "a bore", "output": "no", "tokens": ["a", "bore"], "tags": ["O", "X"]}
)


def ids(family: str, template: str) -> list[int]:
    return Template(template).encode(shared_model(family), EXAMPLE, 60)[0]


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
def test_what_the_model_adds_stands_once(family: str, written: str, plain: str) -> None:
    assert ids(family, written) == ids(family, plain)


def test_markers_in_front_do_not_hide_it() -> None:
    assert ids("llama", "[P1-2]<s>{text}") == [0, placeholder(0), placeholder(1), *ids("llama", "{text}")[1:]]


@pytest.mark.parametrize(
    ("family", "template"),
    [("llama", "{text} so</s>"), ("llama", "{text}</s><s>so"), ("qwen2", "<s>{text} so"), ("bert", "{text}[SEP]so")],
)
def test_what_the_model_does_not_add_there_stays(family: str, template: str) -> None:
    model = shared_model(family)
    plain = template.replace("</s>", "").replace("<s>", "").replace("[SEP]", "")
    assert len(ids(family, template)) == len(ids(family, plain)) + template.count("s>") + template.count("[SEP]")
    assert Template(template).doubled(model) == []


def test_in_a_text_it_is_words() -> None:
    model = shared_model("llama")
    found = Template("{text}").encode(model, Example({"text": "<s>a bore"}), 60)[0]
    assert found.count(0) == 1
    assert "<s>a bore" in model.tokenizer.decode(found)


def test_what_is_read_inside_the_text_is_found_where_it_stands() -> None:
    model = shared_model("llama")
    rows = []
    for template in ("<s>so {tokens}", "so {tokens}"):
        task = TaggingTask(labels=("O", "X"), template=template)
        rows.append(task.bind(model, 60, LinearHead(2, model.shape.hidden_size)).encode(EXAMPLE))
    assert rows[0] == rows[1]


def test_labels_and_responses_follow_the_same_row() -> None:
    model = shared_model("llama")
    for task in (ClassificationTask(labels=("good", "bad")), GenerationTask()):
        written = task.model_copy(update={"template": "<s>" + task.template})
        assert written.bind(model, 60).encode(EXAMPLE) == task.bind(model, 60).encode(EXAMPLE)


@pytest.mark.parametrize("begins", ["{{ bos_token }}", ""])
def test_a_chat_template_that_writes_bos_or_does_not(begins: str) -> None:
    base = tiny_model("llama")
    tokenizer = copy.deepcopy(tiny_tokenizer(bos=True))
    tokenizer.chat_template = (
        begins
        + "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        + "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    model = frozen(base.network, tokenizer, "chatting")
    messages = [{"role": "user", "content": "<s> hi"}, {"role": "assistant", "content": "no"}]
    objective = ChatTask().bind(model, 100)
    row = objective.encode(Example({"messages": messages}))
    assert (row.prompt[0], [*row.prompt, *row.response].count(0)) == (0, 1)
    asked = objective.encode_prompt(Example({"messages": messages}), 4)
    assert (asked.prompt[0], asked.prompt.count(0)) == (0, 1)
