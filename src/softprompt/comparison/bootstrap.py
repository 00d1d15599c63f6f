"""Whether one way is better than another, or was luckier: a paired bootstrap (Koehn 2004, EMNLP).

Both ways answered the same examples, so what is drawn again and again are examples, the same for both, and of each way
its seeds: a difference that other examples or other seeds would turn around is not shown. Few seeds vary less when they
are drawn again than new ones would, and no interval is widened for the number of pairs: near zero it is a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

DRAWS = 2000
INTERVAL = 95.0


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


def difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Difference:
    """Of the scores of two ways, each `[S, N]`: S seeds, which may differ in number, on the same N examples."""
    first, second = np.asarray(one), np.asarray(other)
    source = np.random.default_rng(0)
    rows = source.integers(first.shape[1], size=(DRAWS, first.shape[1]))
    drawn = _means(first, rows, source) - _means(second, rows, source)
    low, high = np.percentile(drawn, [(100 - INTERVAL) / 2, (100 + INTERVAL) / 2])
    return Difference(float(first.mean() - second.mean()), float(low), float(high))


def _means(scores: Float[ndarray, "S N"], rows: np.ndarray, source: np.random.Generator) -> Float[ndarray, "draws"]:
    """The mean score of each draw: its rows, and as many seeds as there are, drawn with replacement."""
    seeds = source.integers(len(scores), size=(len(rows), len(scores)))
    found: np.ndarray = np.stack([scores[s][:, r].mean() for s, r in zip(seeds, rows, strict=True)])
    return found
