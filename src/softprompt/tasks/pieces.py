"""What a template is made of: literal text, fields, and markers for virtual tokens, the blank and special tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter

from softprompt.errors import TaskError
from softprompt.unicode_text import fault_of, readable

BLANK = "[MASK]"
LITERAL_BRACES = 'write {{ for a brace that is text, {{ and }} for a pair of them: \'{{"review": "{text}"}}\''
MARKER = re.compile(r"(\[MASK\]|\[P\d{1,9}(?:-\d{1,9})?\])", re.ASCII)
MOST = 100_000  # pieces, more than any model has positions: a template from a stranger may say [P1-999999999]


@dataclass(frozen=True)
class Literal:
    """Text that is the same in every row."""

    text: str


@dataclass(frozen=True)
class Field:
    """The place of an example's field."""

    name: str


@dataclass(frozen=True)
class Virtual:
    """The place of virtual token `index`, counted from 0: `[P1]` is the first."""

    index: int


@dataclass(frozen=True)
class Blank:
    """The place of the answer in a masked model's row."""


Piece = Literal | Field | Virtual | Blank


def pieces_of(text: str) -> list[Piece]:
    """A template in pieces; neighbouring literals are one.

    Raises:
        TaskError: the braces do not match, a field has no plain name, there are several blanks, or the markers of the
            virtual tokens do not count from 1 without a gap, or it is no Unicode text.
    """
    if fault := fault_of(text):
        raise TaskError(f"the template '{readable(text)}' {fault}: write it in UTF-8")
    found: list[Piece] = []
    for literal, field in _parsed(text):
        for piece in _split(literal):
            if isinstance(piece, Literal) and found and isinstance(found[-1], Literal):
                piece = Literal(found.pop().text + piece.text)  # type: ignore[union-attr]  # an escaped brace ends one
            found.append(piece)
            if len(found) > MOST:
                raise TaskError(f"template {text[:200]!r} has more than {MOST:,} markers: no model has room for them")
        if field is not None:
            found.append(Field(field))
    _check(text, found)
    return found


def _parsed(text: str) -> list[tuple[str, str | None]]:
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise TaskError(f"template {text!r}: {error} ({LITERAL_BRACES})") from error
    for _, field, spec, conversion in parsed:
        if field is not None and (not field.isidentifier() or spec or conversion):
            raise TaskError(
                f"template {text!r}: {{{field}}} is no plain field name such as {{text}} ({LITERAL_BRACES})"
            )
    return [(literal, field) for literal, field, _, _ in parsed]


def _split(literal: str) -> Iterator[Piece]:
    for part in MARKER.split(literal):
        if part == BLANK:
            yield Blank()
        elif MARKER.fullmatch(part):
            first, _, last = part[2:-1].partition("-")
            yield from (Virtual(i - 1) for i in range(int(first), int(last or first) + 1))
        elif part:
            yield Literal(part)


def _check(text: str, pieces: list[Piece]) -> None:
    if not any(isinstance(piece, Field) for piece in pieces):
        raise TaskError(f"template {text!r} names no field: write one, such as {{text}}")
    if sum(isinstance(piece, Blank) for piece in pieces) > 1:
        raise TaskError(f"template {text!r} has several {BLANK}: one is enough, a label of several tokens finds room")
    counts = Counter(piece.index + 1 for piece in pieces if isinstance(piece, Virtual))
    if 0 in counts:
        raise TaskError(f"template {text!r} has [P0]: markers count from [P1] on, without a gap")
    if twice := [i for i, count in counts.items() if count > 1]:
        raise TaskError(f"template {text!r} has [P{twice[0]}] more than once: each virtual token has one place")
    if missing := [i for i in range(1, max(counts, default=0) + 1) if i not in counts]:
        raise TaskError(f"template {text!r} has no [P{missing[0]}]: markers count from [P1] on, without a gap")
