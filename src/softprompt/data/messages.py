"""A conversation as a row holds it: messages, each somebody's text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import RowError

ROLE, CONTENT = "role", "content"
ASSISTANT, USER, SYSTEM = "assistant", "user", "system"

#: Who speaks in ShareGPT's conversations, in our words.
SPEAKERS = {
    "human": USER,
    "user": USER,
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "assistant": ASSISTANT,
    "system": SYSTEM,
}

Message = dict[str, str]
"""`role` and `content`, as chat templates read them."""


def chat_messages(value: Any, where: str) -> list[Message]:
    """The messages of a chat, with nothing but `role` and `content`.

    Raises:
        RowError: it is no list of messages with a role and a text.
    """
    return [{ROLE: role, CONTENT: text} for role, text in _spoken(value, where, ROLE, CONTENT)]


def sharegpt_messages(row: Mapping[str, Any], where: str) -> list[Message]:
    """ShareGPT's `conversations` as messages; a `system` text beside them goes in front.

    Raises:
        RowError: it is no list of `from` and `value`, or somebody speaks whose role is not known.
    """
    messages = [
        {ROLE: _role(speaker, number, where), CONTENT: text}
        for number, (speaker, text) in enumerate(_spoken(row["conversations"], where, "from", "value"), start=1)
    ]
    system = row.get(SYSTEM)
    return [{ROLE: SYSTEM, CONTENT: system}, *messages] if isinstance(system, str) and system else messages


def _role(speaker: str, number: int, where: str) -> str:
    if speaker not in SPEAKERS:
        raise RowError(where, f"message {number} is from {speaker!r}: one of {', '.join(SPEAKERS)} is known")
    return SPEAKERS[speaker]


def _spoken(value: Any, where: str, speaker: str, text: str) -> list[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise RowError(where, f"its messages are {type(value).__name__}, not a list with at least one")
    return [_pair(message, f"{where}, message {number}", speaker, text) for number, message in enumerate(value, 1)]


def _pair(message: Any, where: str, speaker: str, text: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise RowError(where, f"expected an object with {speaker!r} and {text!r}, found {type(message).__name__}")
    for name in (speaker, text):
        if not isinstance(message.get(name), str):
            raise RowError(where, f"its {name!r} is {type(message.get(name)).__name__}, not text")
        if not _is_whole(message[name]):
            raise RowError(where, f"its {name!r} is no Unicode text")
    return message[speaker], message[text]


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
