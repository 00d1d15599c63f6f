"""Truncate texts at token boundaries and at white space."""

from __future__ import annotations

from softprompt.model import FrozenModel


def tokenize_with_offsets(model: FrozenModel, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the ids of a text without special tokens, and the character span of each."""
    encoded = model.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    return encoded.input_ids, encoded.offset_mapping


def drop_last_tokens(model: FrozenModel, text: str, num_tokens: int) -> str:
    """Return a text without its last `num_tokens` tokens, cut at a token boundary in the original characters."""
    _, ends = tokenize_with_offsets(model, text)
    keep = len(ends) - num_tokens
    return text[: min(ends[keep - 1][1], len(text) - 1)] if keep > 0 else ""


def take_last_characters(text: str, min_characters: int) -> str:
    """Return the last `min_characters` to twice as many characters of a text, cut before white space if possible.

    A tokenizer looks no further back: the text before a word does not change the word's tokens.
    """
    if len(text) <= 2 * min_characters:
        return text
    candidates = text[-2 * min_characters : -min_characters]
    return text[
        -min_characters
        - max((len(candidates) - i for i, character in enumerate(candidates) if character.isspace()), default=0) :
    ]
