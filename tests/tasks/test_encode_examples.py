"""Examples encoded together equal those encoded one by one, with fewer calls of the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from softprompt.data import Example
from softprompt.errors import RecordError
from softprompt.model import PromptTokenizer
from softprompt.tasks import ClassificationTask, GenerationTask, Objective
from softprompt.tasks.example_batches import MAX_BATCH_EXAMPLES, split_into_batches
from softprompt.tasks.templates.template import Template
from tests.tiny import shared_model

TEXTS = ["the film", "", "scene " * 200, "Wörter </s> und \n Wörter ", "[P1] the plot", "bad " * 90, "a\u3000b"]
EXAMPLES_OF_ALL = [
    Example({"text": text, "input": text, "output": f" {text[:30]}x", "label": "ab"[i % 2]}, f"row {i}")
    for i, text in enumerate(TEXTS)
]


def _objectives(family: str) -> list[Objective]:
    model = shared_model(family)
    if family == "bert":
        return [ClassificationTask(template="{text} It was [MASK] .", labels=("a", "b")).build_objective(model, 50)]
    tasks = [
        ClassificationTask(template="Review: {text}\nIt was", labels=("a", "b")),
        ClassificationTask(template="[P1] <s> {text} [P2-3] and {text} :", labels=("a", "b")),
        GenerationTask(template="Say {input}\n"),
    ]
    return [task.build_objective(model, 60) for task in tasks]


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_examples_encoded_in_batches_equal_those_encoded_one_by_one(family: str) -> None:
    for objective in _objectives(family):
        one_by_one = [objective.encode_example(example) for example in EXAMPLES_OF_ALL]
        assert list(objective.encode_examples(iter(EXAMPLES_OF_ALL))) == one_by_one
        assert (
            list(objective.encode_examples(EXAMPLES_OF_ALL)) == one_by_one
        )  # truncations of long texts are cached now
        assert any(row.is_truncated for row in one_by_one)


def test_first_invalid_example_is_reported() -> None:
    objective = ClassificationTask(labels=("a", "b")).build_objective(shared_model("llama"), 60)
    wrong = [Example({"label": "a"}, "row 1"), Example({"text": "x", "label": "c"}, "row 2")]
    with pytest.raises(RecordError, match="row 1"):
        list(objective.encode_examples([EXAMPLES_OF_ALL[0], *wrong]))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Texts of each call of the tokenizer."""
    calls: list[Sequence[str]] = []
    whole = PromptTokenizer.tokenize_batch

    def counted(self: PromptTokenizer, texts: Sequence[str], **rest: Any) -> list[list[int]]:
        calls.append(texts)
        return whole(self, texts, **rest)

    monkeypatch.setattr(PromptTokenizer, "tokenize_batch", counted)
    return calls


def test_texts_are_tokenized_in_batches(asked: list[Sequence[str]]) -> None:
    objective = ClassificationTask(labels=("a", "b")).build_objective(shared_model("llama"), 100)
    asked.clear()
    short = [Example({"text": f"text {i}", "label": "a"}) for i in range(MAX_BATCH_EXAMPLES + 1)]
    assert len(list(objective.encode_examples(short))) == MAX_BATCH_EXAMPLES + 1
    assert [len(texts) for texts in asked] == [MAX_BATCH_EXAMPLES, 1]


def test_cached_truncation_avoids_tokenizing_long_text(asked: list[Sequence[str]]) -> None:
    objective = ClassificationTask(labels=("a", "b")).build_objective(shared_model("llama"), 60)
    long = Example({"text": "scene " * 10_000, "label": "a"})
    first = objective.encode_example(long)
    asked.clear()
    assert objective.encode_example(long) == first
    assert sum(len(text) for texts in asked for text in texts) < 1000


def test_special_tokens_of_a_template_are_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    template, model = Template("Review: {text} </s>"), shared_model("llama")
    template.encode_example(model, EXAMPLES_OF_ALL[0], 60)
    monkeypatch.setattr("softprompt.tasks.templates.template.resolve_special_tokens", _fails)
    template.encode_example(model, EXAMPLES_OF_ALL[1], 60)


def _fails(*_: object) -> None:
    raise AssertionError("once was enough")


def test_batches_of_long_texts_have_fewer_examples() -> None:
    texts = ["x" * 2**19] * 5
    sizes = [len(batch) for batch in split_into_batches(Example({"text": text}) for text in texts)]
    assert sizes == [2, 2, 1]
