"""The text around an example's fields: `Review: {text}`, a line end, `Sentiment:`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from string import Formatter

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel


@dataclass(frozen=True)
class Template:
    """Literal text and named fields.

    Raises:
        TaskError: the braces do not match, or a field has no name.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.fields:
            raise TaskError(f"template {self.text!r} names no field: write one, such as {{text}}")

    @cached_property
    def _parts(self) -> list[tuple[str, str | None]]:
        try:
            parsed = list(Formatter().parse(self.text))
        except ValueError as error:
            raise TaskError(f"template {self.text!r}: {error} (write {{{{ for a brace)") from error
        for _, field, spec, conversion in parsed:
            if field is not None and (not field.isidentifier() or spec or conversion):
                raise TaskError(f"template {self.text!r}: {{{field}}} is no plain field name such as {{text}}")
        return [(literal, field) for literal, field, _, _ in parsed]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in order, each once."""
        return tuple(dict.fromkeys(field for _, field in self._parts if field is not None))

    @property
    def tail(self) -> str:
        """The literal text behind the last field: what stands directly before the answer."""
        behind = takewhile(lambda part: part[1] is None, reversed(self._parts))  # an escaped brace ends a part
        return "".join(reversed([literal for literal, _ in behind]))

    def render(self, values: dict[str, str]) -> str:
        """The template with its fields filled in."""
        return "".join(literal + (values[field] if field else "") for literal, field in self._parts)

    def encode(self, model: FrozenModel, example: Example, room: int) -> tuple[list[int], bool]:
        """The ids of an example, BOS included, in at most `room` tokens, and whether text was cut to fit.

        Only the fields are cut, from their ends, the longest first; never the template.

        Raises:
            RowError: a field is missing, or the template alone does not fit.
        """
        values = {field: example.text(field) for field in self.fields}
        ids = model.tokenize(self.render(values), bos=True)
        cut = False
        while len(ids) > room:
            longest = max(values, key=lambda field: len(values[field]))
            if not values[longest]:
                raise RowError(example.where, f"the template alone needs {len(ids)} tokens where {max(room, 0)} fit")
            values[longest] = _shorten(model, values[longest], len(ids) - room)
            ids = model.tokenize(self.render(values), bos=True)
            cut = True
        return ids, cut


def _shorten(model: FrozenModel, text: str, tokens: int) -> str:
    """`text` without its last `tokens` tokens, cut at a token's end in the original characters."""
    ends: list[tuple[int, int]] = model.tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True
    ).offset_mapping
    keep = len(ends) - tokens
    return text[: min(ends[keep - 1][1], len(text) - 1)] if keep > 0 else ""


def continuation(model: FrozenModel, before: str, text: str) -> list[int]:
    """The ids that `text` has when it follows `before`: the tokenizer may treat a beginning differently."""
    whole, head = model.tokenize(before + text), model.tokenize(before)
    return whole[len(head) :] if whole[: len(head)] == head else model.tokenize(text)


def joined(template: Template, answer: str) -> str:
    """An answer as it follows the template: behind a space, unless white space or a script without spaces is there."""
    spaced = not template.text[-1:].isspace() and not _is_wide(answer[:1])
    return " " + answer if spaced else answer


def _is_wide(character: str) -> bool:
    """Whether a character belongs to the scripts that put no spaces between words (Chinese, Japanese)."""
    return any(
        start <= character <= end for start, end in (("\u3000", "\u9fff"), ("\uf900", "\ufaff"), ("\uff00", "\uffef"))
    )
