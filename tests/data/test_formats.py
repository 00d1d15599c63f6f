"""What rows mean: which format is found, what its fields become, and what is said of rows that fit none or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import FORMATS, Examples, read_examples
from softprompt.errors import RowError, SettingError

WriteJsonl = Callable[[str, Sequence[Any]], Path]
TURNS = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好！"}]
QUESTION = {"question": "Which?", "options": {"A": "one", "B": "two"}, "answer_idx": "B", "answer": "two"}


@pytest.fixture
def read(write_jsonl: WriteJsonl) -> Callable[..., Examples]:
    """Write rows and read them."""

    def both(*rows: Any, **arguments: Any) -> Examples:
        return read_examples(write_jsonl("a.jsonl", rows), **arguments)

    return both


Read = Callable[..., Examples]


@pytest.mark.parametrize(
    ("row", "name", "task"),
    [
        ({"text": "fine", "label": "good"}, "classification", "classification"),
        ({"premise": "a", "hypothesis": "b", "label": 1}, "classification", "classification"),
        ({"input": "a", "output": "b"}, "input-output", "generation"),
        ({"input": "a", "references": ["b"]}, "input-output", "generation"),
        ({"instruction": "a", "input": "", "output": "b"}, "alpaca", "generation"),
        ({"instruction": "a", "output": "b"}, "alpaca", "generation"),
        ({"messages": TURNS}, "chat", "chat"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "sharegpt", "chat"),
        (QUESTION, "question", "classification"),
        ({"tokens": ["a"], "tags": ["O"]}, "token-classification", "token-classification"),
        ({"tokens": ["a"], "ner_tags": [0]}, "token-classification", "token-classification"),
        ({"question": "a?", "context": "b", "answer": "b"}, "extraction", "extraction"),
        ({**QUESTION, "context": "one or two"}, "question", "classification"),
        ({"review": "fine", "stars": 5}, "fields", None),
    ],
)
def test_the_fields_tell_the_format(read: Read, row: dict[str, Any], name: str, task: str | None) -> None:
    found = read(row).meaning.format
    assert (found.name, found.task) == (name, task)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"input": "a", "output": "b", "label": "c"}, ["classification", "input-output"]),
        ({"instruction": "a", "output": "b", "label": "c"}, ["classification", "alpaca"]),
        ({"messages": TURNS, "conversations": []}, ["chat", "sharegpt"]),
        ({**QUESTION, "label": "B"}, ["classification", "question"]),
    ],
)
def test_two_formats_are_asked_about(read: Read, row: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(SettingError, match=" or ".join(f'`format="{name}"`' for name in names)):
        read(row)


def test_a_format_that_is_said_is_not_asked_about(read: Read) -> None:
    row = {"input": "a", "output": "b", "label": "c"}
    for name in ("classification", "input-output", "fields"):
        assert read(row, format_name=name).meaning.format is FORMATS[name]


def test_a_format_that_there_is_not(read: Read) -> None:
    with pytest.raises(SettingError, match="unknown format 'alpacca': one of classification, input-output, alpaca"):
        read({"text": "a", "label": "b"}, format_name="alpacca")


def test_a_format_that_the_rows_have_not(read: Read) -> None:
    with pytest.raises(RowError, match=r"a\.jsonl:1: no field 'messages', as rows of chat have, it fits classific"):
        read({"text": "a", "label": "b"}, format_name="chat")


def test_mixed_rows_are_named(read: Read) -> None:
    with pytest.raises(RowError, match=r"a\.jsonl:2: no field 'label', as rows of classification have, it fits chat"):
        read({"text": "a", "label": "b"}, {"messages": TURNS})


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"input": "a", "output": "b"}, {"instruction": "Do so."}, "has the field 'instruction', other than the first"),
        ({"question": "q", "context": "c", "answer": "c"}, {"options": ["c", "d"]}, "has the field 'options'"),
    ],
)
def test_what_a_further_row_says_more_is_not_lost(read: Read, first: dict[str, Any], second: Any, words: str) -> None:
    with pytest.raises(RowError, match=rf"a\.jsonl:2: {words}"):
        read(first, {**first, **second})


def test_a_format_that_was_asked_for_holds_for_all_rows(read: Read) -> None:
    row = {"instruction": "Do so.", "input": "a", "output": "b"}
    assert len(read(row, row, format_name="input-output")) == 2
    with pytest.raises(RowError, match=r"a\.jsonl:2: has no field 'instruction'"):
        read(row, {"input": "a", "output": "b"}, format_name="input-output")


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"input": "the text"}, "Do so.\n\nthe text"),
        ({"input": ""}, "Do so."),
        ({"input": None}, "Do so."),
        ({}, "Do so."),
    ],
)
def test_alpaca_without_input_leaves_no_blank_line(read: Read, row: dict[str, Any], prompt: str) -> None:
    [example] = read({"instruction": "Do so.", **row, "output": "done"})
    assert example.text("prompt") == prompt
    assert example.text("output") == "done"


def test_sharegpt_becomes_messages(read: Read) -> None:
    said = [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "您好！"}]
    assert read({"conversations": said})[0].fields["messages"] == TURNS
    with_system = read({"conversations": said, "system": "Be kind."})[0].fields["messages"]
    assert with_system == [{"role": "system", "content": "Be kind."}, *TURNS]


def test_a_chat_keeps_roles_and_texts_alone(read: Read) -> None:
    assert read({"messages": [{**TURNS[0], "id": 7}, TURNS[1]]})[0].fields["messages"] == TURNS


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"messages": "hello"}, "its messages are str, not a list"),
        ({"messages": []}, "its messages are list, not a list with at least one"),
        ({"messages": [TURNS[0], "hello"]}, "message 2: expected an object with 'role' and 'content', found str"),
        ({"messages": [{"role": "user"}]}, "message 1: its 'content' is NoneType, not text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "message 1: its 'content' is list"),
        ({"conversations": [{"from": "bird", "value": "a"}]}, "message 1 is from 'bird': one of human, user, gpt"),
        ({"conversations": [{"says": "a"}]}, "message 1: its 'from' is NoneType, not text"),
    ],
)
def test_a_chat_that_cannot_be_read_is_named(read: Read, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RowError, match=rf"a\.jsonl:1.*{complaint}"):
        read(row)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"A": "one", "B": "two"}, {"answer_idx": "B", "answer": "two"}),  # MedQA
        ({"A": "one", "B": "two"}, {"answer": "two"}),
        ({"A": "one", "B": "two", "C": None}, {"answer": "b"}),
        (["one", "two"], {"answer": 1}),  # MMLU
        (["one", "two"], {"answer": "1"}),
        (["one", "two"], {"answer": "B"}),
        ({"text": ["one", "two"], "label": ["1", "2"]}, {"answerKey": "2"}),  # ARC
        (["1", "2"], {"answer": "2"}),
    ],
)
def test_a_question_becomes_letters(read: Read, options: Any, answer: dict[str, Any]) -> None:
    [example] = read({"question": "Which?", "options": options, **answer})
    assert example.text("label") == "B"
    assert example.text("options").splitlines()[1].startswith("B. ")
    assert len(example.text("options").splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "answer", "complaint"),
    [
        (["one", "two"], "three", "the answer 'three' is none of its options A, B"),
        (["one", "two"], 3, "the answer '3' is none"),
        (["one", "two"], -1, "the answer '-1' is none"),
        (["one", "two"], True, "the answer 'True' is none"),
        (["one", "two"], None, "the answer 'None' is none"),
        (["one"], "A", "1 options where 2 to 26 are needed"),
        ("one or two", "one", "its options are str, not a list"),
    ],
)
def test_a_question_that_cannot_be_read_is_named(read: Read, options: Any, answer: Any, complaint: str) -> None:
    with pytest.raises(RowError, match=rf"a\.jsonl:1: {complaint}"):
        read({"question": "Which?", "options": options, "answer": answer})


def test_other_names_of_options(read: Read) -> None:
    assert read({"question": "Which?", "choices": ["one", "two"], "answer": 0})[0].text("label") == "A"


def test_tags_are_texts_whatever_they_were(read: Read) -> None:
    found = read({"tokens": ["a", "b"], "ner_tags": [0, 3]})[0]
    assert found.texts("tags") == ["0", "3"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens and 1 tags"),
        ({"tokens": "a b", "tags": ["O"]}, "str and list, not lists"),
        ({"tokens": ["a"], "tags": [None]}, "a tag is NoneType"),
    ],
)
def test_words_and_tags_that_do_not_go_together(read: Read, row: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=f"a.jsonl:1: .*{message}"):
        read(row)


def test_an_answer_by_itself_stands_where_it_is_first(read: Read) -> None:
    found = read({"question": "a?", "context": "tea, tea", "answer": "tea"})[0]
    assert found.fields["answers"] == {"text": ["tea"], "answer_start": [0]}


def test_an_answer_that_is_not_in_its_context_is_named(read: Read) -> None:
    with pytest.raises(RowError, match="a.jsonl:2: the answer 'rice' does not stand in the context"):
        read(*({"question": "a?", "context": "tea", "answer": answer} for answer in ("tea", "rice")))
