"""Units of text offsets: characters, or the code units of other programming languages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OffsetUnit:
    """A unit in which positions in a text are counted.

    Attributes:
        singular: name of one unit.
        plural: name of several units, and which languages count in them.
        encoding: encoding in which a unit has `num_bytes` bytes; None for characters.
        num_bytes: bytes of one unit.
    """

    singular: str
    plural: str
    encoding: str | None
    num_bytes: int = 1

    def to_char_offset(self, text: str, start: int) -> int:
        """Convert an offset in this unit to an offset in characters."""
        if self.encoding is None or text.isascii():
            return start
        content = text.encode(self.encoding, "surrogatepass")[: start * self.num_bytes]
        return len(content.decode(self.encoding, "ignore"))

    def has_part_at(self, text: str, part: str, start: int) -> bool:
        """Return whether `part` occurs in the text at this offset."""
        return start >= 0 and text.startswith(part, self.to_char_offset(text, start))


CHARACTERS = OffsetUnit("character", "characters", None)
UTF_16_CODE_UNITS = OffsetUnit("UTF-16 code unit", "UTF-16 code units (as in JavaScript and Java)", "utf-16-le", 2)
UTF_8_BYTES = OffsetUnit("byte", "UTF-8 bytes (as in Go and Rust)", "utf-8")
OFFSET_UNITS = (CHARACTERS, UTF_16_CODE_UNITS, UTF_8_BYTES)
