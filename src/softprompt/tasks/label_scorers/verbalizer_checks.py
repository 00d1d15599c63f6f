"""Check the words of a verbalizer: one word or phrase per label, and no two with the same tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from softprompt.errors import TaskError
from softprompt.unicode_text import escape_surrogates, find_unicode_error

logger = logging.getLogger(__name__)


def check_valid_unicode(texts: Sequence[str]) -> None:
    """Check that labels and words are valid Unicode.

    Raises:
        TaskError: a text is not valid Unicode.
    """
    for text in texts:
        if fault := find_unicode_error(text):
            raise TaskError(f"the label or word '{escape_surrogates(text)}' {fault}: write it in UTF-8")


def warn_of_alternatives(label_words: Mapping[str, str]) -> None:
    """Log words that look like several alternatives: each is used as one word.

    Args:
        label_words: words by label.
    """
    for label, word in label_words.items():
        if "|" in word:
            logger.warning(
                "the word for the label %r is exactly %r: a label has one word or phrase, alternatives are not "
                "supported",
                label,
                word,
            )


def check_distinct_tokens(labels: Sequence[tuple[str, str]], token_ids: Sequence[Sequence[int]]) -> None:
    """Check that no two labels have words with the same tokens.

    Args:
        labels: each label with its word.
        token_ids: token ids of each word.

    Raises:
        TaskError: two words have the same tokens, or a word has none; the message names the labels and words.
    """
    label_by_tokens: dict[tuple[int, ...], str] = {}
    for (label, word), ids in zip(labels, map(tuple, token_ids), strict=True):
        description = f"label {label!r} (word {word!r})"
        if not ids:
            raise TaskError(f"{description} has no tokens: choose another word with `verbalizer`")
        if ids in label_by_tokens:
            raise TaskError(
                f"{label_by_tokens[ids]} and {description} have the same tokens: "
                "choose another word for one with `verbalizer`"
            )
        label_by_tokens[ids] = description
