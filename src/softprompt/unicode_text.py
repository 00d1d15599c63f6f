"""Checks and escapes of untrusted text: invalid Unicode, and characters that control a terminal.

Tokenizers cannot read lone surrogates, which stand for bytes in other encodings than UTF-8. Control characters move a
terminal's cursor and set its title; bidirectional ones reverse the order of neighbouring text.
"""

from __future__ import annotations

import re

_SURROGATE_ESCAPES = range(0xDC80, 0xDD00)  # Python's surrogates for undecodable bytes on a command line


#: Control characters (C0, DEL, C1), bidirectional and invisible ones, and Unicode's line separators.
_CONTROL_CHARS = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]"
)
_LAYOUT_CHARS = "\n\t"


def escape_controls(text: str, keep: str = _LAYOUT_CHARS) -> str:
    r"""Escape control and bidirectional characters for terminals, logs and pages, as `\x1b` or `\u202e`.

    Args:
        text: untrusted text.
        keep: characters that are not escaped; line ends and tabs by default.
    """
    return _CONTROL_CHARS.sub(lambda match: match[0] if match[0] in keep else _escape_char(match[0]), text)


def escape_json(text: str) -> str:
    """Escape control and bidirectional characters in one line of JSON; the values are unchanged."""
    return _CONTROL_CHARS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape_char(character: str) -> str:
    return character.encode("unicode_escape").decode()


def find_unicode_error(text: str) -> str | None:
    """Describe the first invalid character of a text, as `has the byte 0xe9 at character 4, …`; None if valid."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return _describe_surrogate(text[error.start], error.start)
    return None


def _describe_surrogate(surrogate: str, index: int) -> str:
    code = ord(surrogate)
    if code in _SURROGATE_ESCAPES:
        return f"has the byte {code - 0xDC00:#04x} at character {index + 1}, which is not UTF-8"
    return f"has the lone surrogate {_escape_surrogate(surrogate)} at character {index + 1}"


def escape_surrogates(text: str) -> str:
    """Replace invalid characters by escapes."""
    return "".join(_escape_surrogate(character) for character in text)


def _escape_surrogate(character: str) -> str:
    if not "\ud800" <= character <= "\udfff":
        return character
    return f"\\x{ord(character) - 0xDC00:02x}" if ord(character) in _SURROGATE_ESCAPES else f"\\u{ord(character):04x}"
