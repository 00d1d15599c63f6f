"""Which encoding a text file has: what its first bytes say for certain, and what the bytes of any may be."""

from __future__ import annotations

import codecs
import re

UTF_8 = "utf-8"

#: Byte-order marks, the longer before those they begin with.
MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
HIGH = re.compile(rb"(?<![\x80-\xff])[\x80-\xff]+")
LETTER = re.compile(rb"[A-Za-z]")


def marked_encoding(head: bytes) -> tuple[str, int]:
    """The encoding that a file's first bytes say, and how many of them are a byte-order mark.

    UTF-16 without a mark is known by the zero bytes of its first two characters, which in a file of data are ASCII.
    """
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    match [byte == 0 for byte in head[:4]]:
        case [False, True, False, True]:
            return "utf-16-le", 0
        case [True, False, True, False]:
            return "utf-16-be", 0
    return UTF_8, 0


def likely_encoding(content: bytes) -> str | None:
    """What bytes that are not UTF-8 may be in: of the encodings that are met most, the two that can be told.

    Letters with accents stand by themselves between others, Chinese characters are pairs of bytes beside each other.
    """
    runs = [(match.start(), match.end()) for match in HIGH.finditer(content)]
    western = sum(_is_within_word(content, *run) for run in runs)
    if 2 * western > len(runs):
        return "WINDOWS-1252" if _decoded(content, "cp1252") is not None else None
    text = _decoded(content, "gb18030") or ""
    high = [character for character in text if character > "\x7f"]
    chinese = sum("\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" for c in high)
    return "GB18030" if high and chinese >= 0.9 * len(high) else None


def _is_within_word(content: bytes, begin: int, end: int) -> bool:
    """Whether high bytes are as those of a Western European word: one, or two beside a letter."""
    beside = content[max(0, begin - 1) : begin] + content[end : end + 1]
    return end - begin == 1 or (end - begin == 2 and LETTER.search(beside) is not None)


def _decoded(content: bytes, encoding: str) -> str | None:
    """The text of bytes whose last character may be cut; None if they are in another encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return None
