"""How much of an answer was found: exact match and F1 of words, as SQuAD's script computes them.

For other languages than English as the scripts of DRCD (Chinese), KorQuAD and MLQA do: punctuation is Unicode's, and
what has no spaces between words is compared by the character, Korean by the syllable.
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

from softprompt.tasks.segmentation import syllables, words

_ARTICLES = re.compile(r"\b(a|an|the)\b")


@cache
def _punctuation() -> dict[int, None]:
    """What is no part of an answer, as `str.translate` takes it."""
    found = [i for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)).startswith("P")]
    return dict.fromkeys([*found, *map(ord, string.punctuation)])


def normalised(text: str) -> str:
    """Lower case in one width, without punctuation and English articles, a space between words or characters."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(_punctuation())
    return " ".join(words(_ARTICLES.sub(" ", plain)))


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 if the answer is one of the right ones, once both are normalised."""
    return float(normalised(answer) in map(normalised, right))


def overlap_f1(answer: str, right: Sequence[str]) -> float:
    """F1 of the answer's words, against the right answer that it is nearest to."""
    return max(_f1(syllables(normalised(answer)), syllables(normalised(each))) for each in right)


def _f1(found: list[str], right: list[str]) -> float:
    if not found or not right:
        return float(found == right)
    return 2 * sum((Counter(found) & Counter(right)).values()) / (len(found) + len(right))
