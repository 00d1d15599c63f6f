"""What a model says for each label: one word or phrase each, and no two alike to the tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from softprompt.errors import TaskError
from softprompt.unicode_text import fault_of, readable

logger = logging.getLogger(__name__)


def check_readable(texts: Sequence[str]) -> None:
    """Whether labels and words are Unicode texts.

    Raises:
        TaskError: one is not.
    """
    for text in texts:
        if fault := fault_of(text):
            raise TaskError(f"the label or word '{readable(text)}' {fault}: write it in UTF-8")


def warn_of_several(words: Mapping[str, str]) -> None:
    """Note the words, by their labels, that look like several to choose from: they are taken as they stand."""
    for label, word in words.items():
        if "|" in word:
            logger.warning(
                "the model is to say for the label %r exactly %r: a label has one word or phrase, and several to "
                "choose from are not supported",
                label,
                word,
            )


def check_apart(labels: Sequence[tuple[str, str]], tokens: Sequence[Sequence[int]]) -> None:
    """Whether labels, each with its word, can be told apart by the words' tokens.

    Raises:
        TaskError: two have the same tokens, or one has none; the labels and their words are named.
    """
    found: dict[tuple[int, ...], str] = {}
    for (label, word), ids in zip(labels, map(tuple, tokens), strict=True):
        what = f"the label {label!r} (the model says {word!r})"
        if not ids:
            raise TaskError(f"{what} has no tokens: give it another word (`verbalizer`)")
        if ids in found:
            raise TaskError(
                f"{found[ids]} and {what} have the same tokens, so they cannot be told apart: give one another word "
                "(`verbalizer`)"
            )
        found[ids] = what
