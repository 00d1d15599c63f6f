"""Special tokens in a template: parsed in its literal text, and dropped where the model adds the same ones itself."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.model import FrozenModel, get_placeholder_id
from softprompt.tasks.templates.template_parser import LiteralText, TemplatePart, VirtualTokenSlot


def resolve_special_tokens(template_parts: Sequence[TemplatePart], model: FrozenModel) -> list[TemplatePart | int]:
    """Replace special tokens in literals by their ids; special tokens in a field remain text.

    Special tokens that the model adds to every example (BOS, CLS and SEP, an encoder's EOS) are dropped at the
    template's ends, where they would be duplicates.
    """
    parts = [part for template_part in template_parts for part in _split_special_tokens(template_part, model)]
    duplicate_indices = _find_duplicate_indices(parts, model)
    return [part for i, part in enumerate(parts) if i not in duplicate_indices]


def find_duplicate_special_tokens(template_parts: Sequence[TemplatePart], model: FrozenModel) -> list[int]:
    """Return the ids of special tokens at the template's ends that the model adds itself."""
    parts = [part for template_part in template_parts for part in _split_special_tokens(template_part, model)]
    duplicates = [parts[i] for i in sorted(_find_duplicate_indices(parts, model))]
    return [token_id for token_id in duplicates if isinstance(token_id, int)]


def _find_duplicate_indices(template_parts: Sequence[TemplatePart | int], model: FrozenModel) -> set[int]:
    """Return the indices of special tokens at both ends of a template that the model adds itself."""
    token_ids = model.prompt_tokenizer.add_special_tokens([get_placeholder_id(0)])
    text_index = token_ids.index(get_placeholder_id(0))
    duplicates_at_start = _find_at_edge(range(len(template_parts)), template_parts, token_ids[:text_index])
    return duplicates_at_start | _find_at_edge(
        range(len(template_parts) - 1, -1, -1), template_parts, token_ids[text_index + 1 :]
    )


def _find_at_edge(indices: range, template_parts: Sequence[TemplatePart | int], special_ids: Sequence[int]) -> set[int]:
    duplicates = set()
    for index in indices:
        part = template_parts[index]
        if isinstance(part, int) and part in special_ids:
            duplicates.add(index)
        elif not isinstance(part, VirtualTokenSlot) and not (isinstance(part, LiteralText) and not part.text.strip()):
            break
    return duplicates


def _split_special_tokens(template_part: TemplatePart, model: FrozenModel) -> list[TemplatePart | int]:
    """Split a template part at its special tokens."""
    return (
        [_to_part(part) for part in model.prompt_tokenizer.split_on_special_tokens(template_part.text)]
        if isinstance(template_part, LiteralText)
        else [template_part]
    )


def _to_part(part: str | int) -> LiteralText | int:
    return part if isinstance(part, int) else LiteralText(part)
