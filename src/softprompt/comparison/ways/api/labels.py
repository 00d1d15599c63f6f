"""Which label somebody means who was asked to say one of them. Knows no API and no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import east_asian_width, normalize

WRAPPING = " \"'`*_#([{<“‘«「『【《"  # what a reply may put around its first word: quotes, brackets, Markdown


def meant(reply: str, words: Sequence[str], lead: str = "") -> int | None:
    """The number of the word that a reply says; None where it says none, or not which.

    It says a word that it is, or that it begins with, whatever the case and the punctuation. The longest such word
    counts. A reply that goes on with another of the words ("good or bad") does not say which.

    Args:
        reply: what was answered.
        words: what could have been answered.
        lead: what the text that was to be continued ends with, which a reply may repeat.
    """
    said = _without(reply.strip(), lead.strip())
    if words.count(said) == 1:
        return words.index(said)
    for plain in (_folded, _bare):  # first with punctuation, which tells "C" from "C++" and "1" from "-1"
        if begun := _begun(plain(said), [plain(word) for word in words]):
            return begun[0] if len(begun) == 1 else None
    return None


def _without(said: str, lead: str) -> str:
    """A reply without the last line of what it repeats: `Label: good`."""
    line = lead.rpartition("\n")[2]
    return said[len(line) :].strip() if line and said[: len(line)].casefold() == line.casefold() else said


def _folded(text: str) -> str:
    return " ".join(normalize("NFKC", text).casefold().split()).lstrip(WRAPPING)


def _bare(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", _folded(text)))


def _begun(said: str, words: Sequence[str]) -> list[int]:
    """The numbers of the longest words that a reply begins with, and of those it goes on with if there is one."""
    starts = [i for i, word in enumerate(words) if word and said.startswith(word) and _parted(said, len(word))]
    if not starts:
        return []
    longest = max(len(words[i]) for i in starts)
    said_first = [i for i in starts if len(words[i]) == longest]
    rest = said[longest:]
    return said_first + [i for i, word in enumerate(words) if i not in said_first and _names(rest, word)]


def _names(text: str, word: str) -> bool:
    places = (found.start() for found in re.finditer(re.escape(word), text)) if word else ()
    return any(_parted(text, at) and _parted(text, at + len(word)) for at in places)


def _parted(text: str, at: int) -> bool:
    """Whether a word may end in front of a character and another begin there; in scripts without spaces, anywhere."""
    around = text[max(at - 1, 0) : at + 1] if at < len(text) else ""
    return len(around) < 2 or not all(c.isalnum() and east_asian_width(c) not in ("W", "F") for c in around)
