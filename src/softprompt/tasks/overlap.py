"""How much of an answer was found: exact match and F1 of words, as SQuAD's script computes them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without punctuation and English articles, a space between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 if the answer is one of the right ones, once both are normalised."""
    return float(normalised(answer) in map(normalised, right))


def overlap_f1(answer: str, right: Sequence[str]) -> float:
    """F1 of the answer's words, against the right answer that it is nearest to."""
    return max(_f1(normalised(answer).split(), normalised(each).split()) for each in right)


def _f1(words: list[str], right: list[str]) -> float:
    if not words or not right:
        return float(words == right)
    return 2 * sum((Counter(words) & Counter(right)).values()) / (len(words) + len(right))
