"""What a place in a text counts: characters, or the code units of other programs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """What a place in a text counts.

    Attributes:
        singular: its name.
        plural: the name of several, and whose they are.
        encoding: in which the unit is of `size` bytes; None for characters.
        size: bytes.
    """

    singular: str
    plural: str
    encoding: str | None
    size: int = 1

    def to_characters(self, text: str, start: int) -> int:
        """How many characters stand before a place."""
        if self.encoding is None or text.isascii():
            return start
        content = text.encode(self.encoding, "surrogatepass")[: start * self.size]
        return len(content.decode(self.encoding, "ignore"))

    def fits(self, text: str, part: str, start: int) -> bool:
        """Whether a part of the text stands at this place."""
        return start >= 0 and text.startswith(part, self.to_characters(text, start))


CHARACTERS = Unit("character", "characters", None)
UTF_16 = Unit("UTF-16 code unit", "UTF-16 code units, as JavaScript and Java do", "utf-16-le", 2)
UTF_8 = Unit("byte", "bytes of UTF-8, as Go and Rust do", "utf-8")
UNITS = (CHARACTERS, UTF_16, UTF_8)
