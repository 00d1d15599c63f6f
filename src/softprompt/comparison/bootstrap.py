"""Whether one way is better than another, or was luckier: a paired bootstrap (Koehn 2004, EMNLP).

All ways answered the same examples, so what is drawn again and again are examples, the same for all ways, and of each
way its seeds: a difference that other examples or other seeds would turn around is not shown. Few seeds vary less when
they are drawn again than new ones would, and no interval is widened for the number of pairs: near zero it is a hint.

The examples are drawn once for all pairs, some draws at a time. What is drawn depends on how many examples and seeds
there are and on nothing else, so a pair has the same interval whatever it is compared beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

DRAWS = 2000
INTERVAL = 95.0
AT_ONCE = 2**22  # examples that are drawn at a time: how much memory it takes does not grow with theirs

Scores = Sequence[Sequence[float]] | Float[ndarray, "_ N"]
"""A way's scores: S seeds, which may differ in number, on the same N examples."""


@dataclass(frozen=True)
class Difference:
    """How much larger one way's mean score is than another's, with the interval of 95%."""

    difference: float
    low: float
    high: float

    @property
    def turned(self) -> Difference:
        """The other way round: from the same draws, so that both say the same."""
        return Difference(-self.difference, -self.high, -self.low)

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `no difference shown`."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"


def difference(one: Scores, other: Scores) -> Difference:
    """How two ways compare."""
    return compare_pairs({"one": one, "other": other})["one", "other"]


def compare_pairs(scores: Mapping[str, Scores]) -> dict[tuple[str, str], Difference]:
    """How each way compares with each that comes behind it.

    Args:
        scores: of each way, by its name.

    Returns:
        The differences by the names of both.
    """
    known = {name: np.asarray(each, dtype=float) for name, each in scores.items()}
    if len(known) < 2:
        return {}
    draws = _Draws(known)
    found: dict[tuple[str, str], Difference] = {}
    for first in list(known)[:-1]:
        others = [second for one, second in combinations(known, 2) if one == first]
        drawn = np.stack([draws.difference(first, second) for second in others])
        lows, highs = np.percentile(drawn, [(100 - INTERVAL) / 2, (100 + INTERVAL) / 2], axis=1)
        for second, low, high in zip(others, lows, highs, strict=True):
            mean = float(known[first].mean() - known[second].mean())
            found[first, second] = Difference(mean, float(low), float(high))
    return found


class _Draws:
    """The mean scores of every way in each draw."""

    def __init__(self, scores: Mapping[str, Float[ndarray, "_ N"]]):
        source = np.random.default_rng(0)
        means = _mean_scores(np.concatenate(list(scores.values())), source)
        self._source, self._state = source, source.bit_generator.state
        ends = np.cumsum([len(each) for each in scores.values()])[:-1]
        self._means = dict(zip(scores, np.split(means, ends, axis=1), strict=True))
        self._drawn_seeds = cache(self._draw_seeds)

    def difference(self, first: str, second: str) -> Float[ndarray, "draws"]:
        """How much larger the first way's mean is in each draw."""
        one, other = self._means[first], self._means[second]
        seeds = self._drawn_seeds(one.shape[1], other.shape[1])
        apart = _over_seeds(one, seeds[0]) - _over_seeds(other, seeds[1])
        # Sums of the same numbers may differ in their last digits, and no difference may come of that.
        rounded: Float[ndarray, "draws"] = np.round(apart, 12) + 0.0
        return rounded

    def _draw_seeds(self, one: int, other: int) -> tuple[Int[ndarray, "draws S1"], Int[ndarray, "draws S2"]]:
        """Seeds of two ways that have so many, with replacement."""
        self._source.bit_generator.state = self._state
        return self._source.integers(one, size=(DRAWS, one)), self._source.integers(other, size=(DRAWS, other))


def _mean_scores(scores: Float[ndarray, "T N"], source: np.random.Generator) -> Float[ndarray, "draws T"]:
    """The mean over the examples of each draw, of every seed of every way."""
    number = scores.shape[1]
    return np.concatenate([(counts @ scores.T) / number for counts in _counts(number, source)])


def _counts(number: int, source: np.random.Generator) -> Iterator[Float[ndarray, "some N"]]:
    """How often each example is in a draw, for some draws at a time: the same draws however many at a time."""
    at_once = max(1, AT_ONCE // number)
    for start in range(0, DRAWS, at_once):
        drawn = source.integers(number, size=(min(at_once, DRAWS - start), number))
        drawn += number * np.arange(len(drawn))[:, None]
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(float)


def _over_seeds(means: Float[ndarray, "draws S"], seeds: Int[ndarray, "draws S"]) -> Float[ndarray, "draws"]:
    found: Float[ndarray, "draws"] = np.take_along_axis(means, seeds, axis=1).mean(axis=1)
    return found
