"""Record formats: detection, normalized fields, and errors for records that match no format or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import FORMATS, ExampleDataset, read_examples
from softprompt.errors import RecordError, SettingError

WriteJsonl = Callable[[str, Sequence[Any]], Path]
TURNS = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好！"}]
QUESTION = {"question": "Which?", "options": {"A": "one", "B": "two"}, "answer_idx": "B", "answer": "two"}


@pytest.fixture
def read(write_jsonl: WriteJsonl) -> Callable[..., ExampleDataset]:
    """Function that writes records and reads them as examples."""

    def both(*rows: Any, **arguments: Any) -> ExampleDataset:
        return read_examples(write_jsonl("a.jsonl", rows), **arguments)

    return both


Read = Callable[..., ExampleDataset]


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
def test_format_is_detected_from_fields(read: Read, row: dict[str, Any], name: str, task: str | None) -> None:
    found = read(row).mapping.format
    assert (found.name, found.task_kind) == (name, task)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"input": "a", "output": "b", "label": "c"}, ["classification", "input-output"]),
        ({"instruction": "a", "output": "b", "label": "c"}, ["classification", "alpaca"]),
        ({"messages": TURNS, "conversations": []}, ["chat", "sharegpt"]),
        ({**QUESTION, "label": "B"}, ["classification", "question"]),
    ],
)
def test_ambiguous_format_is_rejected(read: Read, row: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(SettingError, match=" or ".join(f'`format="{name}"`' for name in names)):
        read(row)


def test_explicit_format_resolves_ambiguity(read: Read) -> None:
    row = {"input": "a", "output": "b", "label": "c"}
    for name in ("classification", "input-output", "fields"):
        assert read(row, format_name=name).mapping.format is FORMATS[name]


def test_unknown_format_is_rejected(read: Read) -> None:
    with pytest.raises(SettingError, match="unknown format 'alpacca': use one of classification, input-output, alpaca"):
        read({"text": "a", "label": "b"}, format_name="alpacca")


def test_record_without_the_fields_of_the_explicit_format_is_rejected(read: Read) -> None:
    with pytest.raises(
        RecordError, match=r"a\.jsonl:1: no field 'messages', which the format chat requires, it fits classific"
    ):
        read({"text": "a", "label": "b"}, format_name="chat")


def test_record_of_another_format_is_rejected(read: Read) -> None:
    with pytest.raises(
        RecordError, match=r"a\.jsonl:2: no field 'label', which the format classification requires, it fits chat"
    ):
        read({"text": "a", "label": "b"}, {"messages": TURNS})


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"input": "a", "output": "b"}, {"instruction": "Do so."}, "unexpected field 'instruction': the first"),
        ({"question": "q", "context": "c", "answer": "c"}, {"options": ["c", "d"]}, "unexpected field 'options'"),
    ],
)
def test_record_with_conflicting_fields_is_rejected(read: Read, first: dict[str, Any], second: Any, words: str) -> None:
    with pytest.raises(RecordError, match=rf"a\.jsonl:2: {words}"):
        read(first, {**first, **second})


def test_explicit_format_applies_to_all_records(read: Read) -> None:
    row = {"instruction": "Do so.", "input": "a", "output": "b"}
    assert len(read(row, row, format_name="input-output")) == 2
    with pytest.raises(RecordError, match=r"a\.jsonl:2: missing field 'instruction'"):
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
def test_alpaca_prompt_without_input_has_no_blank_line(read: Read, row: dict[str, Any], prompt: str) -> None:
    [example] = read({"instruction": "Do so.", **row, "output": "done"})
    assert example.get_text("prompt") == prompt
    assert example.get_text("output") == "done"


def test_sharegpt_conversations_become_messages(read: Read) -> None:
    said = [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "您好！"}]
    assert read({"conversations": said})[0].fields["messages"] == TURNS
    with_system = read({"conversations": said, "system": "Be kind."})[0].fields["messages"]
    assert with_system == [{"role": "system", "content": "Be kind."}, *TURNS]


def test_chat_keeps_only_roles_and_contents(read: Read) -> None:
    assert read({"messages": [{**TURNS[0], "id": 7}, TURNS[1]]})[0].fields["messages"] == TURNS


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"messages": "hello"}, "messages must be a non-empty list, found str"),
        ({"messages": []}, "messages must be a non-empty list, found list"),
        ({"messages": [TURNS[0], "hello"]}, "message 2: expected an object with 'role' and 'content', found str"),
        ({"messages": [{"role": "user"}]}, "message 1: 'content' must be text, found NoneType"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "message 1: 'content' has a part"),
        (
            {"conversations": [{"from": "bird", "value": "a"}]},
            "message 1 has the unknown role 'bird': use one of human, user, gpt",
        ),
        ({"conversations": [{"says": "a"}]}, "message 1: 'from' must be text, found NoneType"),
    ],
)
def test_invalid_chat_is_rejected(read: Read, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecordError, match=rf"a\.jsonl:1.*{complaint}"):
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
def test_multiple_choice_answers_become_letters(read: Read, options: Any, answer: dict[str, Any]) -> None:
    [example] = read({"question": "Which?", "options": options, **answer})
    assert example.get_text("label") == "B"
    assert example.get_text("options").splitlines()[1].startswith("B. ")
    assert len(example.get_text("options").splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "answer", "complaint"),
    [
        (["one", "two"], "three", "answer 'three' is not one of the options A, B"),
        (["one", "two"], 3, "answer '3' is not one"),
        (["one", "two"], -1, "answer '-1' is not one"),
        (["one", "two"], True, "answer 'True' is not one"),
        (["one", "two"], None, "answer 'None' is not one"),
        (["one"], "A", "1 options: a question needs 2 to 26"),
        ("one or two", "one", "options must be a list or an object, found str"),
    ],
)
def test_invalid_multiple_choice_question_is_rejected(read: Read, options: Any, answer: Any, complaint: str) -> None:
    with pytest.raises(RecordError, match=rf"a\.jsonl:1: {complaint}"):
        read({"question": "Which?", "options": options, "answer": answer})


def test_choices_field_is_an_alias_of_options(read: Read) -> None:
    assert read({"question": "Which?", "choices": ["one", "two"], "answer": 0})[0].get_text("label") == "A"


def test_numeric_tags_become_text(read: Read) -> None:
    found = read({"tokens": ["a", "b"], "ner_tags": [0, 3]})[0]
    assert found.get_texts("tags") == ["0", "3"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens but 1 tags"),
        ({"tokens": "a b", "tags": ["O"]}, "must be lists, found str and list"),
        ({"tokens": ["a"], "tags": [None]}, "a tag must be a text or a number, found NoneType"),
    ],
)
def test_invalid_tags_are_rejected(read: Read, row: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=f"a.jsonl:1: .*{message}"):
        read(row)


def test_single_answer_is_located_at_its_first_occurrence(read: Read) -> None:
    found = read({"question": "a?", "context": "tea, tea", "answer": "tea"})[0]
    assert found.fields["answers"] == {"text": ["tea"], "answer_start": [0]}


def test_answer_outside_the_context_is_rejected(read: Read) -> None:
    with pytest.raises(RecordError, match="a.jsonl:2: answer 'rice' is not in the context"):
        read(*({"question": "a?", "context": "tea", "answer": answer} for answer in ("tea", "rice")))
