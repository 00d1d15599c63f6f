"""One field of a row, character by character: which of the row's tokens stand for which of its characters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.template import Template

Span = tuple[int, int]
"""From one character to another, the latter not included."""


@dataclass(frozen=True)
class Passage:
    """Tokens of a row that are read, in their order, and what they stand for.

    Attributes:
        text: the field's text, without what was cut off its end.
        places: where each stands in the row's ids; -1 for a word that has no token.
        spans: each one's characters in the text.
    """

    text: str
    places: tuple[int, ...]
    spans: tuple[Span, ...]

    def said(self, first: int, last: int) -> Span:
        """The characters from one token to another, both included, without white space around them."""
        start, end = self.spans[first][0], self.spans[last][1]
        words = self.text[start:end]
        start += len(words) - len(words.lstrip())
        return start, max(start, end - len(words) + len(words.rstrip()))

    def covering(self, span: Span) -> Span | None:
        """The first and the last token of these characters, or None where they were cut away."""
        inside = [i for i, (start, end) in enumerate(self.spans) if start < span[1] and end > span[0]]
        return (inside[0], inside[-1]) if inside and span[1] <= len(self.text) else None


def located(
    template: Template, model: FrozenModel, example: Example, field: str, text: str, room: int
) -> tuple[list[int], Passage]:
    """An example's ids in at most `room`, and the passage that `text` is in the place of `field`.

    Only this field is cut, from its end, at a token's end.

    Raises:
        RowError: another field is missing, or not one token of the text fits.
    """
    values = {name: example.text(name) for name in template.fields if name != field}
    ids, passage = _standing(template, model, values, field, text)
    while len(ids) > room and passage.text:
        kept = max(len(passage.spans) - (len(ids) - room), 0)
        # A character may be several tokens: without the minimum, its end could be that of the whole text.
        end = min(passage.spans[kept - 1][1], len(passage.text) - 1) if kept else 0
        ids, passage = _standing(template, model, values, field, text[:end])
    if passage.spans:
        return ids, passage
    if passage.text == text:
        raise RowError(example.where, f"the text in the place of {{{field}}} has no token")
    raise RowError(example.where, f"the rest of it leaves no room for {{{field}}}, where {max(room, 0)} tokens fit")


def _standing(
    template: Template, model: FrozenModel, values: Mapping[str, str], field: str, text: str
) -> tuple[list[int], Passage]:
    ids, tokens = template.locate(model, {**values, field: text}, field)
    return ids, Passage(text, tuple(place for place, _ in tokens), tuple(span for _, span in tokens))


def check_located(template: Template, field: str) -> None:
    """Whether the template has the field once, so that its tokens can be told.

    Raises:
        TaskError: it has not.
    """
    if template.text.count(f"{{{field}}}") != 1:
        raise TaskError(f"the template {template.text!r} needs {{{field}}} once: it is read in its own place")
