"""A conversation as a row holds it: messages, each with a speaker and a text. Knows no chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import RowError

ROLE, CONTENT, WEIGHT = "role", "content", "weight"
ASSISTANT, USER, SYSTEM = "assistant", "user", "system"
SPEAKER_FIELDS, TEXT_FIELDS = (ROLE, "from"), (CONTENT, "value")

#: Who speaks, as OpenAI's messages and ShareGPT's conversations call them, in our words.
SPEAKERS = {
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
TEXT_PARTS = ("text", "input_text", "output_text")
CALLS = ("tool_calls", "function_call")

Message = dict[str, Any]
"""`role` and `content`, as chat templates read them, and `weight` 0 where the message is not learnt."""


def chat_messages(value: Any, where: str, names: tuple[str, str] = (ROLE, CONTENT)) -> list[Message]:
    """The messages of a chat, with nothing but `role`, `content` and a `weight` of 0.

    Args:
        value: a list of messages, each with `role` and `content`, or `from` and `value`.
        where: names the row in messages.
        names: the two fields that a message is expected to have, in what is said of one without them.

    Raises:
        RowError: it is no list of messages with a known role and a text, or a weight is neither 0 nor 1.
    """
    if not isinstance(value, list) or not value:
        raise RowError(where, f"its messages are {type(value).__name__}, not a list with at least one")
    return [_message(message, number, where, names) for number, message in enumerate(value, 1)]


def sharegpt_messages(row: Mapping[str, Any], where: str) -> list[Message]:
    """ShareGPT's `conversations` as messages; a `system` text beside them goes in front.

    Raises:
        RowError: as `chat_messages`.
    """
    messages = chat_messages(row["conversations"], where, ("from", "value"))
    system = row.get(SYSTEM)
    return [{ROLE: SYSTEM, CONTENT: system}, *messages] if isinstance(system, str) and system else messages


def learnt_messages(messages: list[Message]) -> list[int]:
    """The indices of the messages that are learnt: the assistant's, if they say something and their weight is not 0."""
    return [
        i
        for i, message in enumerate(messages)
        if message[ROLE] == ASSISTANT and message.get(WEIGHT, 1) and message[CONTENT].strip()
    ]


def _message(message: Any, number: int, where: str, names: tuple[str, str]) -> Message:
    place = f"{where}, message {number}"
    if not isinstance(message, dict):
        raise RowError(place, f"expected an object with {names[0]!r} and {names[1]!r}, found {type(message).__name__}")
    speaker_field, text_field = _present(message, SPEAKER_FIELDS, names[0]), _present(message, TEXT_FIELDS, names[1])
    role = _role(_text(message.get(speaker_field), speaker_field, place), number, where)
    if any(message.get(name) for name in CALLS):
        raise RowError(place, "it calls a tool: only texts are learnt, leave the row out")
    content = message.get(text_field)
    said = "" if content is None and role == ASSISTANT else _text(content, text_field, place)
    return {ROLE: role, CONTENT: said} | _weight(message.get(WEIGHT), role, place)


def _present(message: Mapping[str, Any], fields: tuple[str, ...], otherwise: str) -> str:
    """The field that the message has; a table has all, and None in the others."""
    return next((name for name in fields if message.get(name) is not None), otherwise)


def _role(speaker: str, number: int, where: str) -> str:
    if speaker.lower() not in SPEAKERS:
        raise RowError(where, f"message {number} is from {speaker!r}: one of {', '.join(SPEAKERS)} is known")
    return SPEAKERS[speaker.lower()]


def _weight(weight: Any, role: str, place: str) -> dict[str, int]:
    """OpenAI's `weight`: 0 for a message of the assistant's that is not learnt."""
    if weight is None:
        return {}
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RowError(place, f"its weight is {weight!r}: 1 for a message that is learnt, 0 for one that is not")
    if role != ASSISTANT:
        raise RowError(place, f"it has a weight, and is from the {role}: only the assistant's messages are learnt")
    return {} if weight else {WEIGHT: 0}


def _text(value: Any, name: str, place: str) -> str:
    text = _joined(value, name, place) if isinstance(value, list) else value
    if not isinstance(text, str):
        raise RowError(place, f"its {name!r} is {type(text).__name__}, not text")
    if not _is_whole(text):
        raise RowError(place, f"its {name!r} is no Unicode text")
    return text


def _joined(parts: list[Any], name: str, place: str) -> str:
    """The text of a content in parts, as OpenAI writes it."""
    texts: list[Any] = [part.get("text") if _is_text_part(part) else part for part in parts]
    for part, text in zip(parts, texts, strict=True):
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise RowError(place, f"its {name!r} is list with a part of the type {kind!r} that is no text")
    return "".join(texts)


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PARTS


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
