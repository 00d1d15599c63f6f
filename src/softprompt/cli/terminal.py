"""What a terminal cannot show is written as an escape: in tables, labels, JSON, notes and error messages alike."""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Any

from softprompt.unicode_text import escape_json

#: Signs that commands draw with, and what stands for each where the terminal has none of them.
PLAIN = {"█": "#", "⟦": "[[", "⟧": "]]", "→": "->", "…": "...", "–": "-", "−": "-", "×": "x", "±": "+-"}
_SPINNER = range(0x2800, 0x2900)  # the dots of braille

ESCAPES = "softprompt.escapes"


def escape_unprintable() -> None:
    r"""Have standard output and standard error escape what their encoding lacks, as `\U0001f621`."""
    codecs.register_error(ESCAPES, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPES)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    return "*" if ord(character) in _SPINNER else character.encode("ascii", "backslashreplace").decode()


def json_text(value: Any) -> str:
    """JSON on one line, with escapes of its own for what standard output cannot write, and what a terminal obeys."""
    text = escape_json(json.dumps(value, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
