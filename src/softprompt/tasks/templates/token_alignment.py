"""Align the tokens of an example with the characters of one of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.templates.template import Template

CharSpan = tuple[int, int]
"""Start (inclusive) and end (exclusive) of a range of characters."""


@dataclass(frozen=True)
class TokenAlignment:
    """An alignment of tokens with the text of a field.

    Attributes:
        text: text of the field, as truncated.
        token_positions: position of each token in the example's ids, in order; -1 for a word without a token.
        char_spans: character span of each token in `text`.
    """

    text: str
    token_positions: tuple[int, ...]
    char_spans: tuple[CharSpan, ...]

    def get_char_span(self, first: int, last: int) -> CharSpan:
        """Return the character span from one token to another (inclusive), without surrounding white space."""
        start, end = self.char_spans[first][0], self.char_spans[last][1]
        words = self.text[start:end]
        start += len(words) - len(words.lstrip())
        return start, max(start, end - len(words) + len(words.rstrip()))

    def find_token_span(self, span: CharSpan) -> CharSpan | None:
        """Return the first and last token of a character span; None if truncation removed the span."""
        token_indices = [i for i, (start, end) in enumerate(self.char_spans) if start < span[1] and end > span[0]]
        return (token_indices[0], token_indices[-1]) if token_indices and span[1] <= len(self.text) else None


def encode_with_alignment(
    template: Template, model: FrozenModel, example: Example, field: str, text: str, max_length: int
) -> tuple[list[int], TokenAlignment]:
    """Return an example's ids, at most `max_length`, and their alignment with `text`, which replaces `field`.

    Only this field is truncated, from its end, at a token boundary.

    Raises:
        RecordError: another field is missing, or no token of the text fits.
    """
    values = {name: example.get_text(name) for name in template.field_names if name != field}
    token_ids, alignment = _align_field(template, model, values, field, text)
    while len(token_ids) > max_length and alignment.text:
        num_kept_tokens = max(len(alignment.char_spans) - (len(token_ids) - max_length), 0)
        # A character may have several tokens: without the minimum, no character might be removed.
        end = min(alignment.char_spans[num_kept_tokens - 1][1], len(alignment.text) - 1) if num_kept_tokens else 0
        token_ids, alignment = _align_field(template, model, values, field, text[:end])
    if alignment.char_spans:
        return token_ids, alignment
    if alignment.text == text:
        raise RecordError(example.location, f"the text of {{{field}}} has no tokens")
    raise RecordError(
        example.location,
        f"no space left for {{{field}}}: the other fields already fill the limit of {max(max_length, 0)} tokens",
    )


def _align_field(
    template: Template, model: FrozenModel, values: Mapping[str, str], field: str, text: str
) -> tuple[list[int], TokenAlignment]:
    ids, positions_and_spans = template.encode_with_offsets(model, {**values, field: text}, field)
    return ids, TokenAlignment(
        text, tuple(position for position, _ in positions_and_spans), tuple(span for _, span in positions_and_spans)
    )


def require_field_once(template: Template, field: str) -> None:
    """Check that the template has the field exactly once, so that its tokens can be identified.

    Raises:
        TaskError: the field is missing or repeated.
    """
    if template.text.count(f"{{{field}}}") != 1:
        raise TaskError(f"the template {template.text!r} must contain {{{field}}} exactly once")
