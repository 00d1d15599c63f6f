"""Messages in all supported forms: fields, roles, content parts, weights; and messages that are invalid."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.errors import RecordError
from tests.data.conftest import Write

WriteJsonl = Callable[[str, Sequence[Any]], Path]
OPENAI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]


def read(write_jsonl: WriteJsonl, row: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = read_examples(write_jsonl("a.jsonl", [row]))[0].fields["messages"]
    return messages


@pytest.mark.parametrize("field", ["messages", "conversations"])
@pytest.mark.parametrize("said", [OPENAI, SHAREGPT, [OPENAI[0], SHAREGPT[1]]])
def test_messages_with_openai_and_sharegpt_field_names_are_read(write_jsonl: WriteJsonl, field: str, said: Any) -> None:
    assert read(write_jsonl, {field: said}) == OPENAI


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_null_columns_of_tables_are_ignored(write: Write, field: str) -> None:
    import pyarrow
    from pyarrow import parquet

    weighed = [SHAREGPT[0], {**SHAREGPT[1], "weight": 0.0}]
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([{field: weighed}, {field: OPENAI}]), sink)
    first, second = read_examples(write("a.parquet", sink.getvalue()))
    assert first.fields["messages"] == [OPENAI[0], {**OPENAI[1], "weight": 0}]
    assert second.fields["messages"] == OPENAI


@pytest.mark.parametrize(
    ("role", "known"),
    [("Assistant", "assistant"), ("model", "assistant"), ("human", "user"), ("developer", "system"), ("tool", "tool")],
)
def test_role_aliases_are_normalized(write_jsonl: WriteJsonl, role: str, known: str) -> None:
    assert read(write_jsonl, {"messages": [*OPENAI, {"role": role, "content": "a"}]})[-1]["role"] == known


def test_text_parts_of_a_message_are_joined(write_jsonl: WriteJsonl) -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    assert read(write_jsonl, {"messages": [{"role": "user", "content": parts}, OPENAI[1]]}) == OPENAI


@pytest.mark.parametrize(("weight", "kept"), [(0, {"weight": 0}), (0.0, {"weight": 0}), (1, {}), (1.0, {}), (None, {})])
def test_weight_of_a_message_is_preserved_only_if_zero(
    write_jsonl: WriteJsonl, weight: Any, kept: dict[str, int]
) -> None:
    assert read(write_jsonl, {"messages": [OPENAI[0], {**OPENAI[1], "weight": weight}]}) == [
        OPENAI[0],
        {**OPENAI[1], **kept},
    ]
    assert read(write_jsonl, {"conversations": [SHAREGPT[0], {**SHAREGPT[1], "weight": weight}]})[1] == {
        **OPENAI[1],
        **kept,
    }


@pytest.mark.parametrize("weight", [2, -1, 0.5, "x", "0", True, [0]])
@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_invalid_weight_is_rejected(write_jsonl: WriteJsonl, field: str, weight: Any) -> None:
    with pytest.raises(RecordError, match=r"a\.jsonl:1, message 2: invalid weight .*: use 1 to train on the message"):
        read(write_jsonl, {field: [OPENAI[0], {**OPENAI[1], "weight": weight}]})


@pytest.mark.parametrize("weight", [0, 1])
def test_weight_of_a_user_message_is_rejected(write_jsonl: WriteJsonl, weight: int) -> None:
    with pytest.raises(RecordError, match=r"message 1: weight is not allowed with the role 'user': only assistant"):
        read(write_jsonl, {"messages": [{**OPENAI[0], "weight": weight}, OPENAI[1]]})


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"role": "bird", "content": "a"}, "message 1 has the unknown role 'bird': use one of human, user"),
        ({"role": 7, "content": "a"}, "message 1: 'role' must be text, found int"),
        ({"content": "a"}, "message 1: 'role' must be text, found NoneType"),
        ({"role": "user", "content": None}, "message 1: 'content' must be text, found NoneType"),
        ({"role": "user", "content": {"text": "a"}}, "message 1: 'content' must be text, found dict"),
        ({"role": "user", "content": [{"type": "text"}]}, "message 1: 'content' has a part"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "a part of type 'image_url'"),
        ({"role": "user", "content": [{"type": "text", "text": "\ud83d"}]}, "'content' is not valid Unicode text"),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
            "message 1: tool calls are not supported",
        ),
        (
            {"role": "assistant", "content": "a", "function_call": {"name": "f"}},
            "message 1: tool calls are not supported",
        ),
    ],
)
def test_invalid_message_error_names_the_message(write: Write, message: dict[str, Any], complaint: str) -> None:
    path = write("a.jsonl", json.dumps({"messages": [message, OPENAI[1]]}))
    with pytest.raises(RecordError, match=rf"a\.jsonl:1.*{complaint}"):
        read_examples(path)
