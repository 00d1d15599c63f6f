"""Words with a tag each: CoNLL's form, whatever the tags' field is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import RowError

WORDS = "tokens"
TAGS = ("tags", "ner_tags")


def tagged_fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row's fields with `tags` as texts, one for each of `tokens`; a number without a name is its digits.

    Raises:
        RowError: they are no lists, or not of one length.
    """
    words, tags = row[WORDS], row[next(name for name in TAGS if name in row)]
    if not isinstance(words, list) or not isinstance(tags, list):
        raise RowError(where, f"its {WORDS} and tags are {type(words).__name__} and {type(tags).__name__}, not lists")
    if len(words) != len(tags):
        raise RowError(where, f"{len(words)} {WORDS} and {len(tags)} tags: each word needs one")
    if wrong := [tag for tag in tags if not isinstance(tag, str | int)]:
        raise RowError(where, f"a tag is {type(wrong[0]).__name__}, not a text or a number")
    return {**row, TAGS[0]: [str(tag) for tag in tags]}
