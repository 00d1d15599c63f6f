"""Exact match and word F1 of answers, as computed by SQuAD's script.

Other languages follow the scripts of DRCD (Chinese), KorQuAD and MLQA: punctuation is Unicode's, scripts without
spaces between words are compared by character, and Korean by syllable.
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

from softprompt.tasks.metrics.word_segmentation import split_syllables, split_words

_ARTICLES = re.compile(r"\b(a|an|the)\b")


@cache
def _punctuation_table() -> dict[int, None]:
    """Return a table for `str.translate` that removes punctuation."""
    code_points = [i for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)).startswith("P")]
    return dict.fromkeys([*code_points, *map(ord, string.punctuation)])


def normalize_answer(text: str) -> str:
    """Return the text in lower case and one width, without punctuation and English articles, with single spaces."""
    unpunctuated = unicodedata.normalize("NFKC", text).lower().translate(_punctuation_table())
    return " ".join(split_words(_ARTICLES.sub(" ", unpunctuated)))


def exact_match_score(prediction: str, references: Sequence[str]) -> float:
    """Return 1 if the normalized answer equals a normalized reference, else 0."""
    return float(normalize_answer(prediction) in map(normalize_answer, references))


def token_f1_score(prediction: str, references: Sequence[str]) -> float:
    """Return the F1 of the answer's words against the closest reference."""
    return max(
        _multiset_f1(split_syllables(normalize_answer(prediction)), split_syllables(normalize_answer(reference)))
        for reference in references
    )


def _multiset_f1(predicted: list[str], reference: list[str]) -> float:
    if not predicted or not reference:
        return float(predicted == reference)
    return 2 * sum((Counter(predicted) & Counter(reference)).values()) / (len(predicted) + len(reference))
