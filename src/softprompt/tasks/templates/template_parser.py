"""Parse templates into literal text, fields, and markers for virtual tokens and the mask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter

from softprompt.errors import TaskError
from softprompt.unicode_text import escape_surrogates, find_unicode_error

MASK_MARKER = "[MASK]"
BRACES_HINT = 'write literal braces as {{ and }}: \'{{"review": "{text}"}}\''
MARKER_PATTERN = re.compile(r"(\[MASK\]|\[P\d{1,9}(?:-\d{1,9})?\])", re.ASCII)
MAX_PARTS = 100_000  # more than any model has positions; an untrusted template may contain [P1-999999999]


@dataclass(frozen=True)
class LiteralText:
    """A part of literal text, the same for every example."""

    text: str


@dataclass(frozen=True)
class FieldSlot:
    """A part that an example's field replaces."""

    name: str


@dataclass(frozen=True)
class VirtualTokenSlot:
    """A part for the virtual token at `index`, counted from 0: `[P1]` has index 0."""

    index: int


@dataclass(frozen=True)
class MaskSlot:
    """A part for the answer of a masked model."""


TemplatePart = LiteralText | FieldSlot | VirtualTokenSlot | MaskSlot


def parse_template(text: str) -> list[TemplatePart]:
    """Parse a template into parts; adjacent literals are merged.

    Raises:
        TaskError: the braces do not match, a field has no plain name, there are no fields or several masks, the markers
            of virtual tokens do not count from 1 without a gap, or the text is not valid Unicode.
    """
    if unicode_error := find_unicode_error(text):
        raise TaskError(f"the template '{escape_surrogates(text)}' {unicode_error}: write it in UTF-8")
    parts: list[TemplatePart] = []
    for literal, field in _parse_braces(text):
        for part in _split_markers(literal):
            if isinstance(part, LiteralText) and parts and isinstance(parts[-1], LiteralText):
                part = LiteralText(parts.pop().text + part.text)  # type: ignore[union-attr]  # an escaped brace ends a literal
            parts.append(part)
            if len(parts) > MAX_PARTS:
                raise TaskError(
                    f"template {text[:200]!r} has more than {MAX_PARTS:,} markers, more than any model supports"
                )
        if field is not None:
            parts.append(FieldSlot(field))
    _check_parts(text, parts)
    return parts


def _parse_braces(text: str) -> list[tuple[str, str | None]]:
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise TaskError(f"template {text!r}: {error} ({BRACES_HINT})") from error
    for _, field, spec, conversion in parsed:
        if field is not None and (not field.isidentifier() or spec or conversion):
            raise TaskError(
                f"template {text!r}: {{{field}}} is not a plain field name such as {{text}} ({BRACES_HINT})"
            )
    return [(literal, field) for literal, field, _, _ in parsed]


def _split_markers(literal: str) -> Iterator[TemplatePart]:
    for part in MARKER_PATTERN.split(literal):
        if part == MASK_MARKER:
            yield MaskSlot()
        elif MARKER_PATTERN.fullmatch(part):
            first, _, last = part[2:-1].partition("-")
            yield from (VirtualTokenSlot(i - 1) for i in range(int(first), int(last or first) + 1))
        elif part:
            yield LiteralText(part)


def _check_parts(text: str, template_parts: list[TemplatePart]) -> None:
    if not any(isinstance(part, FieldSlot) for part in template_parts):
        raise TaskError(f"template {text!r} has no field: add one, such as {{text}}")
    if sum(isinstance(part, MaskSlot) for part in template_parts) > 1:
        raise TaskError(
            f"template {text!r} has several {MASK_MARKER}: use one, which also serves labels of several tokens"
        )
    counts = Counter(part.index + 1 for part in template_parts if isinstance(part, VirtualTokenSlot))
    if 0 in counts:
        raise TaskError(f"template {text!r} has [P0]: number the markers from [P1] without gaps")
    if repeated := [i for i, count in counts.items() if count > 1]:
        raise TaskError(f"template {text!r} has [P{repeated[0]}] more than once: use each virtual token once")
    if missing := [i for i in range(1, max(counts, default=0) + 1) if i not in counts]:
        raise TaskError(f"template {text!r} has no [P{missing[0]}]: number the markers from [P1] without gaps")
