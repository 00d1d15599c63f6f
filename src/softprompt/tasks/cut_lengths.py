"""How many characters of a long text fitted: that is found once, and not again whenever the text is put in tokens."""

from __future__ import annotations

from collections.abc import Mapping

MOST = 2**16  # remembered; some 200 bytes each


class CutLengths:
    """Of the values of a template's fields, how long those are that fit into a room.

    Values are known by their lengths and their hash, so that no long text is kept.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, ...], tuple[int, ...]] = {}

    def find(self, values: Mapping[str, str], room: int) -> dict[str, str] | None:
        """The values as they were cut for this room before; None where they were not.

        A text has no more tokens than bytes, so that one of few characters is not worth looking for.
        """
        if sum(map(len, values.values())) <= room:
            return None
        lengths = self._found.get(_key(values, room))
        if lengths is None:
            return None
        return {field: text[:length] for (field, text), length in zip(values.items(), lengths, strict=True)}

    def keep(self, values: Mapping[str, str], room: int, cut: Mapping[str, str]) -> None:
        """Remember what was left of values; when there are too many, all are forgotten and found anew."""
        if len(self._found) >= MOST:
            self._found.clear()
        self._found[_key(values, room)] = tuple(map(len, cut.values()))


def _key(values: Mapping[str, str], room: int) -> tuple[int, ...]:
    return (room, *(number for text in values.values() for number in (len(text), hash(text))))
