"""Passages of a document: neighboring paragraphs of about equal length."""

from __future__ import annotations

import re
from collections.abc import Callable

_PARAGRAPH_PATTERN = re.compile(r"\n\s*\n")
_SENTENCE_PATTERN = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n")


def split_passages(document: str, max_tokens: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Split a document into passages of whole paragraphs, or of whole sentences where a paragraph is too long.

    Args:
        document: text to split.
        max_tokens: maximum length of a passage, in tokens; a single sentence may be longer.
        count_tokens: returns the number of tokens of a text.
    """
    passages: list[str] = []
    for paragraph in _PARAGRAPH_PATTERN.split(document):
        if not paragraph.strip():
            continue
        if count_tokens(paragraph) <= max_tokens:
            _append(passages, paragraph, "\n\n", max_tokens, count_tokens)
            continue
        passages.append("")
        for sentence in filter(None, map(str.strip, _SENTENCE_PATTERN.split(paragraph))):
            _append(passages, sentence, " ", max_tokens, count_tokens)
    return [passage for passage in passages if passage]


def _append(
    passages: list[str], part: str, separator: str, max_tokens: int, count_tokens: Callable[[str], int]
) -> None:
    """Append a part to the last passage if it fits, or else as a new passage."""
    joined = f"{passages[-1]}{separator}{part}" if passages and passages[-1] else part
    if passages and (not passages[-1] or count_tokens(joined) <= max_tokens):
        passages[-1] = joined
    else:
        passages.append(part)
