"""Normalize the messages of a conversation. This module knows no chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import RecordError
from softprompt.unicode_text import find_unicode_error

ROLE, CONTENT, WEIGHT = "role", "content", "weight"
ASSISTANT, USER, SYSTEM = "assistant", "user", "system"
ROLE_FIELDS, CONTENT_FIELDS = (ROLE, "from"), (CONTENT, "value")

#: Our roles by the names in OpenAI's messages and ShareGPT's conversations.
ROLE_ALIASES = {
    "human": USER,
    "user": USER,
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "model": ASSISTANT,
    "assistant": ASSISTANT,
    "system": SYSTEM,
    "developer": SYSTEM,
    "tool": "tool",
}
TEXT_PART_TYPES = ("text", "input_text", "output_text")
TOOL_CALL_FIELDS = ("tool_calls", "function_call")

MessageDict = dict[str, Any]
"""`role` and `content` for chat templates, and a `weight` of 0 if the message is excluded from the loss."""


def normalize_messages(value: Any, location: str, field_names: tuple[str, str] = (ROLE, CONTENT)) -> list[MessageDict]:
    """Return the messages of a chat with `role`, `content` and, where it is 0, `weight`.

    Args:
        value: a list of messages, each with `role` and `content`, or `from` and `value`.
        location: where the record is in its source, for error messages.
        field_names: the expected names of the role and content fields, for error messages.

    Raises:
        RecordError: the value is not a list of messages with a known role and a text, or a weight is neither 0 nor 1.
    """
    if not isinstance(value, list) or not value:
        raise RecordError(location, f"messages must be a non-empty list, found {type(value).__name__}")
    return [_normalize_message(message, number, location, field_names) for number, message in enumerate(value, 1)]


def normalize_sharegpt_messages(record: Mapping[str, Any], location: str) -> list[MessageDict]:
    """Convert ShareGPT's `conversations` to messages. A `system` text next to them becomes the first message.

    Raises:
        RecordError: as `normalize_messages`.
    """
    messages = normalize_messages(record["conversations"], location, ("from", "value"))
    system = record.get(SYSTEM)
    return [{ROLE: SYSTEM, CONTENT: system}, *messages] if isinstance(system, str) and system else messages


def find_supervised_messages(messages: list[MessageDict]) -> list[int]:
    """Return the indices of the supervised messages: the assistant's that are not blank and whose weight is not 0."""
    return [
        i
        for i, message in enumerate(messages)
        if message[ROLE] == ASSISTANT and message.get(WEIGHT, 1) and message[CONTENT].strip()
    ]


def drop_weight(message: MessageDict) -> MessageDict:
    """Return a message with only the fields that chat templates read."""
    return {ROLE: message[ROLE], CONTENT: message[CONTENT]}


def _normalize_message(message: Any, number: int, location: str, field_names: tuple[str, str]) -> MessageDict:
    message_location = f"{location}, message {number}"
    if not isinstance(message, dict):
        raise RecordError(
            message_location,
            f"expected an object with {field_names[0]!r} and {field_names[1]!r}, found {type(message).__name__}",
        )
    role_field = _find_present_field(message, ROLE_FIELDS, field_names[0])
    text_field = _find_present_field(message, CONTENT_FIELDS, field_names[1])
    role = _normalize_role(_parse_content(message.get(role_field), role_field, message_location), number, location)
    if any(message.get(name) for name in TOOL_CALL_FIELDS):
        raise RecordError(message_location, "tool calls are not supported: remove this record")
    content = message.get(text_field)
    text = "" if content is None and role == ASSISTANT else _parse_content(content, text_field, message_location)
    return {ROLE: role, CONTENT: text} | _normalize_weight(message.get(WEIGHT), role, message_location)


def _find_present_field(message: Mapping[str, Any], fields: tuple[str, ...], default: str) -> str:
    """Return the first field of the message that is not None. A table has all columns, with None for absent fields."""
    return next((name for name in fields if message.get(name) is not None), default)


def _normalize_role(name: str, number: int, location: str) -> str:
    if name.lower() not in ROLE_ALIASES:
        raise RecordError(
            location, f"message {number} has the unknown role {name!r}: use one of {', '.join(ROLE_ALIASES)}"
        )
    return ROLE_ALIASES[name.lower()]


def _normalize_weight(weight: Any, role: str, location: str) -> dict[str, int]:
    """Return OpenAI's `weight` if it is 0, which excludes an assistant message from the loss."""
    if weight is None:
        return {}
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RecordError(location, f"invalid weight {weight!r}: use 1 to train on the message, or 0 to exclude it")
    if role != ASSISTANT:
        raise RecordError(
            location, f"weight is not allowed with the role {role!r}: only assistant messages are trained on"
        )
    return {} if weight else {WEIGHT: 0}


def _parse_content(value: Any, field_name: str, location: str) -> str:
    text = _join_text_parts(value, field_name, location) if isinstance(value, list) else value
    if not isinstance(text, str):
        raise RecordError(location, f"{field_name!r} must be text, found {type(text).__name__}")
    if fault := find_unicode_error(text):
        raise RecordError(location, f"{field_name!r} is not valid Unicode text: it {fault}")
    return text


def _join_text_parts(parts: list[Any], field_name: str, location: str) -> str:
    """Join the text parts of an OpenAI content list."""
    texts: list[Any] = [part.get("text") if _is_text_part(part) else part for part in parts]
    for part, text in zip(parts, texts, strict=True):
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise RecordError(location, f"{field_name!r} has a part of type {kind!r}: only text parts are supported")
    return "".join(texts)


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PART_TYPES
