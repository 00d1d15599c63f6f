"""Cache the lengths to which long texts were truncated, so that they are determined only once."""

from __future__ import annotations

from collections.abc import Mapping

MAX_ENTRIES = 2**16  # about 200 bytes each


class TruncationCache:
    """A cache of the truncated lengths of a template's field values, by length limit.

    Values are identified by length and hash, so that no long text is kept.
    """

    def __init__(self) -> None:
        self._lengths: dict[tuple[int, ...], tuple[int, ...]] = {}

    def get_truncated(self, values: Mapping[str, str], max_length: int) -> dict[str, str] | None:
        """Return the values as truncated earlier for this limit; None if unknown.

        A text has no more tokens than bytes, so short texts need no lookup.
        """
        if sum(map(len, values.values())) <= max_length:
            return None
        lengths = self._lengths.get(_cache_key(values, max_length))
        if lengths is None:
            return None
        return {field: text[:length] for (field, text), length in zip(values.items(), lengths, strict=True)}

    def put_truncated(self, values: Mapping[str, str], max_length: int, truncated: Mapping[str, str]) -> None:
        """Store the truncated lengths of values. A full cache is cleared first."""
        if len(self._lengths) >= MAX_ENTRIES:
            self._lengths.clear()
        self._lengths[_cache_key(values, max_length)] = tuple(map(len, truncated.values()))


def _cache_key(values: Mapping[str, str], max_length: int) -> tuple[int, ...]:
    return (max_length, *(number for text in values.values() for number in (len(text), hash(text))))
