"""Differences: shown where they are, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from softprompt.comparison.bootstrap import difference

N = 400
source = np.random.default_rng(1)


def answered(share: float, seeds: int = 3) -> list[list[float]]:
    return (source.random((seeds, N)) < share).astype(float).tolist()


def test_a_large_difference_is_shown_both_ways() -> None:
    good, bad = answered(0.95), answered(0.80)
    found, other = difference(good, bad), difference(bad, good)
    assert (found.verdict, other.verdict) == ("better", "worse")
    assert found.difference == pytest.approx(-other.difference)
    assert found.low < found.difference < found.high


def test_the_same_answers_show_nothing() -> None:
    same = answered(0.9, seeds=1)
    found = difference(same, same)
    assert (found.difference, found.low, found.high, found.verdict) == (0, 0, 0, "no difference shown")


def test_one_lucky_seed_is_no_proof() -> None:
    """Two seeds like the other's and one far better: which seeds one had is drawn too."""
    other = answered(0.85)
    lucky = [*other[:2], [1.0] * N]
    assert difference(lucky, other).verdict == "no difference shown"


def test_pairing_shows_what_apart_would_not() -> None:
    """A few rows more, on top of all that the other has: apart the noise of the rows would hide it."""
    other = answered(0.6, seeds=1)
    wrong = [i for i, right in enumerate(other[0]) if not right]
    more = [list(other[0])]
    for i in wrong[:12]:
        more[0][i] = 1.0
    assert difference(more, other).verdict == "better"
    assert difference(answered(0.63, seeds=1), answered(0.6, seeds=1)).low < 0


def test_how_often_it_is_wrong() -> None:
    """Of ways that are equal, about one pair in twenty is said to differ."""
    wrong = sum(difference(answered(0.9), answered(0.9)).verdict != "no difference shown" for _ in range(60))
    assert wrong <= 8
