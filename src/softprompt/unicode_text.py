"""Whether a text is Unicode, and how one that comes from anybody is shown: what a terminal obeys is written as escapes.

Bytes in another encoding than UTF-8, and halves of characters, no tokenizer reads. Control characters move a terminal's
cursor and set its title; bidirectional ones turn the order of what stands beside them around.
"""

from __future__ import annotations

import re

_BYTES = range(0xDC80, 0xDD00)  # what Python makes of bytes that it cannot decode on a command line


#: Control characters (C0, DEL, C1), bidirectional and invisible ones, and those that end a line unseen.
_CONTROLS = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]"
)
_LAYOUT = "\n\t"


def escape_controls(text: str, keep: str = _LAYOUT) -> str:
    r"""A text that a terminal, a log or a page may show: control and bidirectional characters as `\x1b`, `\u202e`.

    Args:
        text: from anybody.
        keep: those that stay as they are; the ends of lines and tabs by default.
    """
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def escape_json(text: str) -> str:
    r"""JSON on one line with control and bidirectional characters as JSON's own escapes: the values are the same."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def fault_of(text: str) -> str | None:
    """What is no character in a text, and where: `has the byte 0xe9 at character 4, which is not UTF-8`; else None."""
    at = next((i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)
    if at is None:
        return None
    code = ord(text[at])
    if code in _BYTES:
        return f"has the byte {code - 0xDC00:#04x} at character {at + 1}, which is not UTF-8"
    return f"has half a character ({_written(text[at])}) at character {at + 1}"


def readable(text: str) -> str:
    """The text with what is no character as an escape."""
    return "".join(_written(character) for character in text)


def _written(character: str) -> str:
    if not "\ud800" <= character <= "\udfff":
        return character
    return f"\\x{ord(character) - 0xDC00:02x}" if ord(character) in _BYTES else f"\\u{ord(character):04x}"
