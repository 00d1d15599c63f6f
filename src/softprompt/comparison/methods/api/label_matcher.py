"""Matches the reply of a language model to a label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import east_asian_width, normalize

WRAPPING_CHARS = " \"'`*_#([{<“‘«「『【《"  # what a reply may put around its first word: quotes, brackets, Markdown


def match_label(reply: str, label_words: Sequence[str], prompt_tail: str = "") -> int | None:
    """Return the index of the label word that a reply names; None if the reply names no word or several.

    A reply names a word that it equals or begins with, regardless of case and punctuation. The longest such word
    counts. A reply that also contains another word ("good or bad") is ambiguous.

    Args:
        reply: reply of the model.
        label_words: allowed words.
        prompt_tail: end of the prompt, which a reply may repeat.
    """
    answer = _strip_prompt_tail(reply.strip(), prompt_tail.strip())
    if label_words.count(answer) == 1:
        return label_words.index(answer)
    for simplify in (
        _normalize_text,
        _strip_punctuation,
    ):  # first with punctuation, which tells "C" from "C++" and "1" from "-1"
        if matches := _match_prefixes(simplify(answer), [simplify(word) for word in label_words]):
            return matches[0] if len(matches) == 1 else None
    return None


def _strip_prompt_tail(reply: str, prompt_tail: str) -> str:
    """Remove the repeated last line of the prompt from a reply: `Label: good`."""
    line = prompt_tail.rpartition("\n")[2]
    return reply[len(line) :].strip() if line and reply[: len(line)].casefold() == line.casefold() else reply


def _normalize_text(text: str) -> str:
    return " ".join(normalize("NFKC", text).casefold().split()).lstrip(WRAPPING_CHARS)


def _strip_punctuation(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", _normalize_text(text)))


def _match_prefixes(reply: str, label_words: Sequence[str]) -> list[int]:
    """Return the indices of the longest words that a reply begins with, and of the other words it contains."""
    starts = [
        i
        for i, word in enumerate(label_words)
        if word and reply.startswith(word) and _is_word_boundary(reply, len(word))
    ]
    if not starts:
        return []
    longest = max(len(label_words[i]) for i in starts)
    longest_matches = [i for i in starts if len(label_words[i]) == longest]
    rest = reply[longest:]
    return longest_matches + [
        i for i, word in enumerate(label_words) if i not in longest_matches and _contains_word(rest, word)
    ]


def _contains_word(text: str, word: str) -> bool:
    starts = (match.start() for match in re.finditer(re.escape(word), text)) if word else ()
    return any(_is_word_boundary(text, start) and _is_word_boundary(text, start + len(word)) for start in starts)


def _is_word_boundary(text: str, index: int) -> bool:
    """Return whether a word may end before the character at `index`; in scripts without spaces, always."""
    around = text[max(index - 1, 0) : index + 1] if index < len(text) else ""
    return len(around) < 2 or not all(c.isalnum() and east_asian_width(c) not in ("W", "F") for c in around)
