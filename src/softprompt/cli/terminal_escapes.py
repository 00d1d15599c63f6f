"""Escapes characters that the terminal cannot encode, in all output: tables, JSON, log lines and errors."""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Any

from softprompt.unicode_text import escape_json

#: ASCII replacements of the symbols that commands print.
ASCII_REPLACEMENTS = {"█": "#", "⟦": "[[", "⟧": "]]", "→": "->", "…": "...", "–": "-", "−": "-", "×": "x", "±": "+-"}
_BRAILLE_PATTERNS = range(0x2800, 0x2900)  # spinners

ERROR_HANDLER_NAME = "softprompt.escapes"


def escape_unprintable() -> None:
    r"""Make standard output and standard error escape characters outside their encoding, such as `\U0001f621`."""
    codecs.register_error(ERROR_HANDLER_NAME, _escape_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERROR_HANDLER_NAME)


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_to_ascii, error.object[error.start : error.end])), error.end


def _to_ascii(character: str) -> str:
    if character in ASCII_REPLACEMENTS:
        return ASCII_REPLACEMENTS[character]
    return "*" if ord(character) in _BRAILLE_PATTERNS else character.encode("ascii", "backslashreplace").decode()


def dump_json_line(value: Any) -> str:
    """Dump JSON on one line. Escape control characters, and characters that standard output cannot encode."""
    text = escape_json(json.dumps(value, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
