"""Many examples at once become the rows that they become one by one, in fewer calls of the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from softprompt.data import Example
from softprompt.errors import RowError
from softprompt.model import FrozenModel
from softprompt.tasks import ClassificationTask, GenerationTask, Objective
from softprompt.tasks.example_batches import EXAMPLES, split_into_batches
from softprompt.tasks.objective import Row, beginning
from softprompt.tasks.template import Template
from tests.tiny import shared_model

TEXTS = ["the film", "", "scene " * 200, "Wörter </s> und \n Wörter ", "[P1] the plot", "bad " * 90, "a\u3000b"]
EXAMPLES_OF_ALL = [
    Example({"text": text, "input": text, "output": f" {text[:30]}x", "label": "ab"[i % 2]}, f"row {i}")
    for i, text in enumerate(TEXTS)
]


def _objectives(family: str) -> list[Objective]:
    model = shared_model(family)
    if family == "bert":
        return [ClassificationTask(template="{text} It was [MASK] .", labels=("a", "b")).bind(model, 50)]
    tasks = [
        ClassificationTask(template="Review: {text}\nIt was", labels=("a", "b")),
        ClassificationTask(template="[P1] <s> {text} [P2-3] and {text} :", labels=("a", "b")),
        GenerationTask(template="Say {input}\n"),
    ]
    return [task.bind(model, 60) for task in tasks]


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_rows_are_those_of_one_example_at_a_time(family: str) -> None:
    for objective in _objectives(family):
        one_by_one = [objective.encode(example) for example in EXAMPLES_OF_ALL]
        assert list(objective.encode_all(iter(EXAMPLES_OF_ALL))) == one_by_one
        assert list(objective.encode_all(EXAMPLES_OF_ALL)) == one_by_one  # long texts are known by now
        assert any(row.cut for row in one_by_one)


def test_the_first_example_that_does_not_fit_is_named() -> None:
    objective = ClassificationTask(labels=("a", "b")).bind(shared_model("llama"), 60)
    wrong = [Example({"label": "a"}, "row 1"), Example({"text": "x", "label": "c"}, "row 2")]
    with pytest.raises(RowError, match="row 1"):
        list(objective.encode_all([EXAMPLES_OF_ALL[0], *wrong]))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The texts of each call of the tokenizer."""
    calls: list[Sequence[str]] = []
    whole = FrozenModel.tokenize_all

    def counted(self: FrozenModel, texts: Sequence[str], **rest: Any) -> list[list[int]]:
        calls.append(texts)
        return whole(self, texts, **rest)

    monkeypatch.setattr(FrozenModel, "tokenize_all", counted)
    return calls


def test_texts_are_tokenized_in_batches(asked: list[Sequence[str]]) -> None:
    objective = ClassificationTask(labels=("a", "b")).bind(shared_model("llama"), 100)
    asked.clear()
    short = [Example({"text": f"text {i}", "label": "a"}) for i in range(EXAMPLES + 1)]
    assert len(list(objective.encode_all(short))) == EXAMPLES + 1
    assert [len(texts) for texts in asked] == [EXAMPLES, 1]


def test_a_long_text_is_cut_before_it_is_tokenized_again(asked: list[Sequence[str]]) -> None:
    objective = ClassificationTask(labels=("a", "b")).bind(shared_model("llama"), 60)
    long = Example({"text": "scene " * 10_000, "label": "a"})
    first = objective.encode(long)
    asked.clear()
    assert objective.encode(long) == first
    assert sum(len(text) for texts in asked for text in texts) < 1000


def test_a_template_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    template, model = Template("Review: {text} </s>"), shared_model("llama")
    template.encode(model, EXAMPLES_OF_ALL[0], 60)
    monkeypatch.setattr("softprompt.tasks.template._with_special_tokens", _fails)
    template.encode(model, EXAMPLES_OF_ALL[1], 60)


def _fails(*_: object) -> None:
    raise AssertionError("once was enough")


def test_a_batch_ends_early_where_its_texts_are_long() -> None:
    texts = ["x" * 2**19] * 5
    sizes = [len(batch) for batch in split_into_batches(Example({"text": text}) for text in texts)]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 9, 9]], [1, 2]),
        ([[1, 2, 3]], [1, 2]),  # at the last one something is read
        ([[1, -1, 3, 4], [1, -1, 3, 4]], [1]),
        ([[1, 2, 3], [4, 2, 3]], []),
        ([[1, 2, 3], [1, 2]], [1]),
    ],
)
def test_rows_begin_alike_up_to_a_virtual_token_or_a_place_that_is_read(
    prompts: list[list[int]], shared: list[int]
) -> None:
    assert beginning([Row(prompt, []) for prompt in prompts]) == shared


def test_what_rows_begin_with_is_found_in_one_walk() -> None:
    class Counted(list[Row]):
        walks = 0

        def __iter__(self) -> Any:
            self.walks += 1
            return super().__iter__()

    rows = Counted(Row([7] * 30 + [i], []) for i in range(3))
    assert beginning(rows) == [7] * 30
    assert rows.walks == 1
