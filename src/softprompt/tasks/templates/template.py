"""Templates: literal text around the fields of an example (`Review: {text}`), with markers for virtual tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from weakref import WeakKeyDictionary

from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.model import FrozenModel, MaskedModel, get_placeholder_id
from softprompt.tasks.templates.special_tokens import find_duplicate_special_tokens, resolve_special_tokens
from softprompt.tasks.templates.template_parser import (
    MASK_MARKER,
    FieldSlot,
    LiteralText,
    MaskSlot,
    TemplatePart,
    VirtualTokenSlot,
    parse_template,
)
from softprompt.tasks.templates.text_truncation import drop_last_tokens, tokenize_with_offsets
from softprompt.tasks.templates.truncation_cache import TruncationCache


@dataclass(frozen=True)
class Template:
    """A template of literal text, named fields, and markers: `[P1]`, `[P2-9]` for virtual tokens, and `[MASK]`.

    Raises:
        TaskError: the template is invalid; see `parse_template`.
    """

    text: str

    def __post_init__(self) -> None:
        _ = self._parts

    @cached_property
    def _parts(self) -> list[TemplatePart]:
        return parse_template(self.text)

    @cached_property
    def _parts_by_model(self) -> WeakKeyDictionary[FrozenModel, list[TemplatePart | int]]:
        return WeakKeyDictionary()

    @cached_property
    def _truncations_by_model(self) -> WeakKeyDictionary[FrozenModel, TruncationCache]:
        return WeakKeyDictionary()

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the fields in order, each once."""
        return tuple(dict.fromkeys(part.name for part in self._parts if isinstance(part, FieldSlot)))

    @property
    def num_virtual_tokens(self) -> int:
        """The number of virtual tokens with a marker."""
        return sum(isinstance(part, VirtualTokenSlot) for part in self._parts)

    @property
    def has_mask(self) -> bool:
        """Whether the template contains `[MASK]`."""
        return any(isinstance(part, MaskSlot) for part in self._parts)

    @property
    def text_before_answer(self) -> str:
        """The literal text directly before the answer: before the mask, or else at the end."""
        mask_index = next((i for i, part in enumerate(self._parts) if isinstance(part, MaskSlot)), len(self._parts))
        previous_part = self._parts[mask_index - 1] if mask_index else None
        return previous_part.text if isinstance(previous_part, LiteralText) else ""

    def get_single_field(self) -> str:
        """Return the name of the only field.

        Raises:
            TaskError: the template has several fields.
        """
        if len(self.field_names) != 1:
            raise TaskError(
                f"the template has several fields ({', '.join(self.field_names)}): one text cannot fill them"
            )
        return self.field_names[0]

    def render_text(self, values: Mapping[str, str]) -> str:
        """Fill the fields and return the text, without markers."""
        return "".join(_render_part(part, values) for part in self._parts)

    def encode_raw(self, model: FrozenModel, example: Example) -> list[int]:
        """Return an example's ids, neither truncated nor with special tokens added; virtual tokens are placeholders.

        Raises:
            RecordError: a field is missing.
        """
        return self._encode_values(model, {field: example.get_text(field) for field in self.field_names})

    def encode_example(self, model: FrozenModel, example: Example, max_length: int) -> tuple[list[int], bool]:
        """Return an example's ids with special tokens, at most `max_length`, and whether text was truncated.

        Virtual tokens are placeholders, and the mask is the model's mask token. Only fields are truncated, at their
        ends, the longest field first; the template never is.

        Raises:
            RecordError: a field is missing, or the template alone does not fit.
        """
        return next(iter(self.encode_examples(model, [example], [max_length])))

    def encode_examples(
        self, model: FrozenModel, examples: Sequence[Example], max_lengths: Sequence[int]
    ) -> Iterator[tuple[list[int], bool]]:
        """Encode several examples as `encode_example` does, each with its own length limit, tokenized in one call.

        Raises:
            RecordError: as `encode_example`.
        """
        cache = self._truncations_by_model.setdefault(model, TruncationCache())
        values_by_example = [{field: example.get_text(field) for field in self.field_names} for example in examples]
        cached = [
            cache.get_truncated(values, max_length)
            for values, max_length in zip(values_by_example, max_lengths, strict=True)
        ]
        texts = [
            values if truncated is None else truncated
            for values, truncated in zip(values_by_example, cached, strict=True)
        ]
        encoded = self._encode_value_batch(model, texts)
        for example, values, max_length, raw_ids, truncated in zip(
            examples, values_by_example, max_lengths, encoded, cached, strict=True
        ):
            token_ids = model.prompt_tokenizer.add_special_tokens(raw_ids)
            if len(token_ids) <= max_length:
                yield token_ids, truncated is not None
            else:
                yield self._encode_truncated(model, example, values, max_length, token_ids), True

    def _encode_truncated(
        self, model: FrozenModel, example: Example, values: Mapping[str, str], max_length: int, token_ids: list[int]
    ) -> list[int]:
        """Truncate the fields until the example fits. `token_ids` are those of the whole example."""
        remaining = dict(values)
        while len(token_ids) > max_length:
            longest_field = max(remaining, key=lambda field: len(remaining[field]))
            if not remaining[longest_field]:
                raise RecordError(
                    example.location,
                    f"the template alone has {len(token_ids)} tokens, but only {max(max_length, 0)} fit",
                )
            remaining[longest_field] = drop_last_tokens(model, remaining[longest_field], len(token_ids) - max_length)
            token_ids = model.prompt_tokenizer.add_special_tokens(self._encode_values(model, remaining))
        self._truncations_by_model[model].put_truncated(values, max_length, remaining)
        return token_ids

    def encode_with_offsets(
        self, model: FrozenModel, values: Mapping[str, str], field_name: str
    ) -> tuple[list[int], list[tuple[int, tuple[int, int]]]]:
        """Return the ids of filled-in values, and position and character span of each token of `field_name`."""
        ids: list[int] = []
        positions_and_spans: list[tuple[int, tuple[int, int]]] = []
        text, field_start, field_end = "", 0, 0
        for part in [*resolve_special_tokens(self._parts, model), None]:
            if isinstance(part, LiteralText | FieldSlot):
                if part == FieldSlot(field_name):
                    field_start, field_end = len(text), len(text) + len(values[field_name])
                text += _render_part(part, values)
                continue
            text = text.rstrip(" ") if isinstance(part, VirtualTokenSlot | MaskSlot) else text
            tokens, spans = tokenize_with_offsets(model, text)
            field_spans = [(max(start, field_start), min(end, field_end)) for start, end in spans]
            positions_and_spans += [
                (len(ids) + i, (a - field_start, b - field_start)) for i, (a, b) in enumerate(field_spans) if a < b
            ]
            ids += tokens if part is None else [*tokens, _get_token_id(part, model)]
            text, field_start, field_end = "", 0, 0
        num_leading = model.prompt_tokenizer.add_special_tokens([get_placeholder_id(0)]).index(get_placeholder_id(0))
        return model.prompt_tokenizer.add_special_tokens(ids), [
            (num_leading + position, span) for position, span in positions_and_spans
        ]

    def find_duplicate_special_tokens(self, model: FrozenModel) -> list[str]:
        """Return special tokens at the template's ends that the model adds itself, so that they are redundant."""
        return [str(model.tokenizer.decode([i])) for i in find_duplicate_special_tokens(self._parts, model)]

    def check_mask_supported(self, model: FrozenModel) -> None:
        """Check that the template has no mask, or that the model is a masked model.

        Raises:
            TaskError: the template has a mask, but the model is not a masked model.
        """
        if self.has_mask and not isinstance(model, MaskedModel):
            raise TaskError(
                f"{model.name} is not a masked model and cannot fill {MASK_MARKER}: remove the marker; "
                "the answer follows the template"
            )

    def check_has_mask(self, model: FrozenModel) -> None:
        """Check that a masked model has a mask to predict the answer at.

        Raises:
            TaskError: the model is a masked model, but the template has no mask.
        """
        if isinstance(model, MaskedModel) and not self.has_mask:
            raise TaskError(
                f"{model.name} is a masked model, but the template {self.text!r} has no {MASK_MARKER}: "
                f"put one where the label belongs, such as '{{text}} It was {MASK_MARKER}.', "
                'or pass `head="linear"`'
            )

    def _encode_values(self, model: FrozenModel, values: Mapping[str, str]) -> list[int]:
        """Return the ids without the model's special tokens. Text between two markers is tokenized as one."""
        return self._encode_value_batch(model, [values])[0]

    def _encode_value_batch(self, model: FrozenModel, batch: Sequence[Mapping[str, str]]) -> list[list[int]]:
        """Return the ids of several examples without added special tokens. All texts are tokenized in one call."""
        if model not in self._parts_by_model:
            self._parts_by_model[model] = resolve_special_tokens(self._parts, model)
        parts_by_example = [_render_texts_and_ids(self._parts_by_model[model], model, values) for values in batch]
        texts = [part for example_parts in parts_by_example for part in example_parts if isinstance(part, str)]
        encoded = iter(model.prompt_tokenizer.tokenize_batch(texts, split_special_tokens=True))
        return [
            list(chain.from_iterable(next(encoded) if isinstance(part, str) else (part,) for part in example_parts))
            for example_parts in parts_by_example
        ]


def _render_texts_and_ids(
    template_parts: Sequence[TemplatePart | int], model: FrozenModel, values: Mapping[str, str]
) -> list[str | int]:
    """Return an example as texts, each to be tokenized as one, and the ids between them."""
    parts: list[str | int] = []
    text = ""
    for part in template_parts:
        if isinstance(part, LiteralText | FieldSlot):
            text += _render_part(part, values)
            continue
        text = (
            text.rstrip(" ") if isinstance(part, VirtualTokenSlot | MaskSlot) else text
        )  # a trailing space would be a token of its own
        parts += [text, _get_token_id(part, model)]
        text = ""
    return [*parts, text]


def _render_part(template_part: TemplatePart, values: Mapping[str, str]) -> str:
    match template_part:
        case LiteralText(text=text):
            return text
        case FieldSlot(name=name):
            return values[name]
    return ""


def _get_token_id(template_part: TemplatePart | int, model: FrozenModel) -> int:
    match template_part:
        case int():
            return template_part
        case VirtualTokenSlot(index=index):
            return get_placeholder_id(index)
    assert isinstance(model, MaskedModel)  # ensured by `check_mask_supported`
    return model.prompt_tokenizer.mask_token_id
