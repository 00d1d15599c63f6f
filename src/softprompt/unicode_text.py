"""Whether a text is Unicode: bytes in another encoding than UTF-8, and halves of characters, no tokenizer reads."""

from __future__ import annotations

_BYTES = range(0xDC80, 0xDD00)  # what Python makes of bytes that it cannot decode on a command line


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
