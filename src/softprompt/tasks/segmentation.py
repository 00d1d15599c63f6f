"""A text in words. Scripts that put no spaces between words count by the character. Knows no language and no metric."""

from __future__ import annotations

import re

#: Scripts without spaces between words, and the punctuation that goes with them. Korean has spaces.
UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf"  # radicals
    "\u3000-\u9fff"  # Chinese and Japanese: punctuation, kana, ideographs
    "\uf900-\ufaff"  # ideographs for compatibility
    "\ufe30-\ufe4f"  # vertical punctuation
    "\uff00-\uffef"  # full and half width
    "\U00020000-\U0003ffff"  # rare ideographs
)
_HANGUL_LETTERS = "\u3130-\u318f\uffa0-\uffdc"  # Korean's, inside the ranges above
_CHARACTER = re.compile(f"(?![{_HANGUL_LETTERS}])[{UNSPACED}]")
_SYLLABLE = re.compile(r"[\uac00-\ud7af]")


def spaced(text: str) -> str:
    """The text with a space around every character of a script that has none between words."""
    return _CHARACTER.sub(r" \g<0> ", text)


def words(text: str) -> list[str]:
    """The words of a text; of scripts that put no spaces between them, the characters."""
    return spaced(text).split()


def syllables(text: str) -> list[str]:
    """As `words`, with Korean by the syllable too, whose words carry endings."""
    return _SYLLABLE.sub(r" \g<0> ", spaced(text)).split()
