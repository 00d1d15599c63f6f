"""Split text into words, and scripts without spaces between words into characters. Knows no language and no metric."""

from __future__ import annotations

import re

#: Scripts without spaces between words, with their punctuation. Korean has spaces.
UNSPACED_SCRIPTS = (
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
_HANGUL_LETTERS = "\u3130-\u318f\uffa0-\uffdc"  # Korean letters inside the ranges above
_UNSPACED_CHARACTER = re.compile(f"(?![{_HANGUL_LETTERS}])[{UNSPACED_SCRIPTS}]")
_HANGUL_SYLLABLE = re.compile(r"[\uac00-\ud7af]")


def space_characters(text: str) -> str:
    """Return the text with spaces around every character of a script without spaces between words."""
    return _UNSPACED_CHARACTER.sub(r" \g<0> ", text)


def split_words(text: str) -> list[str]:
    """Split text into words; into characters for scripts without spaces between words."""
    return space_characters(text).split()


def split_syllables(text: str) -> list[str]:
    """Split text as `split_words`, but Korean into syllables, because its words carry endings."""
    return _HANGUL_SYLLABLE.sub(r" \g<0> ", space_characters(text)).split()
