"""Detect the encoding of a text file from its first bytes, or guess the encoding of arbitrary bytes."""

from __future__ import annotations

import codecs
import re

UTF_8 = "utf-8"

#: Byte-order marks. A longer mark precedes the shorter one that it begins with.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
NON_ASCII_RUN = re.compile(rb"(?<![\x80-\xff])[\x80-\xff]+")
ASCII_LETTER = re.compile(rb"[A-Za-z]")


def detect_encoding(head: bytes) -> tuple[str, int]:
    """Return the encoding that a file's first bytes determine, and the length of its byte-order mark.

    UTF-16 without a mark is recognized by the zero bytes of its first two characters, which are ASCII in data files.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    match [byte == 0 for byte in head[:4]]:
        case [False, True, False, True]:
            return "utf-16-le", 0
        case [True, False, True, False]:
            return "utf-16-be", 0
    return UTF_8, 0


def guess_encoding(content: bytes) -> str | None:
    """Guess the encoding of bytes that are not UTF-8: Windows-1252, GB18030 or None.

    Accented letters occur singly between ASCII letters; Chinese characters are adjacent pairs of bytes.
    """
    runs = [(match.start(), match.end()) for match in NON_ASCII_RUN.finditer(content)]
    num_western_runs = sum(_is_within_word(content, *run) for run in runs)
    if 2 * num_western_runs > len(runs):
        return "WINDOWS-1252" if _try_decode(content, "cp1252") is not None else None
    text = _try_decode(content, "gb18030") or ""
    non_ascii = [char for char in text if char > "\x7f"]
    num_chinese = sum(
        "\u4e00" <= char <= "\u9fff" or "\u3000" <= char <= "\u303f" or "\uff00" <= char <= "\uffef"
        for char in non_ascii
    )
    return "GB18030" if non_ascii and num_chinese >= 0.9 * len(non_ascii) else None


def _is_within_word(content: bytes, start: int, end: int) -> bool:
    """Return whether non-ASCII bytes look like part of a Western European word: one byte, or two next to a letter."""
    neighbors = content[max(0, start - 1) : start] + content[end : end + 1]
    return end - start == 1 or (end - start == 2 and ASCII_LETTER.search(neighbors) is not None)


def _try_decode(content: bytes, encoding: str) -> str | None:
    """Decode bytes whose last character may be incomplete; None if the encoding does not fit."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return None
