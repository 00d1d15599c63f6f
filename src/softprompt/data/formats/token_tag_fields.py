"""Normalize words with a tag each: CoNLL's form, under any of the usual field names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import RecordError

TOKENS_FIELD = "tokens"
TAG_FIELDS = ("tags", "ner_tags")


def normalize_token_tag_fields(record: Mapping[str, Any], location: str) -> dict[str, Any]:
    """Return a record's fields with `tags` as texts, one for each of `tokens`. A number becomes its digits.

    Raises:
        RecordError: tokens or tags are not lists, or differ in length.
    """
    words, tags = record[TOKENS_FIELD], record[next(name for name in TAG_FIELDS if name in record)]
    if not isinstance(words, list) or not isinstance(tags, list):
        raise RecordError(
            location, f"{TOKENS_FIELD} and tags must be lists, found {type(words).__name__} and {type(tags).__name__}"
        )
    if len(words) != len(tags):
        raise RecordError(location, f"{len(words)} {TOKENS_FIELD} but {len(tags)} tags: each token needs one tag")
    if invalid_tags := [tag for tag in tags if not isinstance(tag, str | int)]:
        raise RecordError(location, f"a tag must be a text or a number, found {type(invalid_tags[0]).__name__}")
    return {**record, TAG_FIELDS[0]: [str(tag) for tag in tags]}
