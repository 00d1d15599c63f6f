"""Tests whether one method is better than another with a paired bootstrap (Koehn 2004, EMNLP).

All methods answer the same examples. Each resample draws examples with replacement, the same ones for all methods, and
seeds of each method. A difference that other examples or other seeds could reverse is not significant. Resampling few
seeds underestimates their variance, and intervals are not corrected for the number of pairs: an interval that barely
excludes zero is weak evidence.

The examples are drawn once for all pairs, in chunks of resamples. The resamples depend only on the number of examples
and seeds, so the interval of a pair does not depend on the other methods of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from softprompt.comparison.report.method_result import Verdict

NUM_RESAMPLES = 2000
CONFIDENCE_PERCENT = 95.0
EXAMPLES_PER_CHUNK = 2**22  # drawn at a time, so that memory does not grow with the number of examples

Scores = Sequence[Sequence[float]] | Float[ndarray, "_ N"]
"""Scores of a method, `[S, N]`: N is the same for all methods, the number of seeds S may differ."""


@dataclass(frozen=True)
class ScoreDifference:
    """The difference of two methods' mean scores.

    Attributes:
        difference: mean score of the first method minus that of the second.
        low: lower bound of the 95% confidence interval.
        high: upper bound of the 95% confidence interval.
    """

    difference: float
    low: float
    high: float

    @property
    def opposite(self) -> ScoreDifference:
        """The difference with both methods swapped, from the same resamples, so that both agree."""
        return ScoreDifference(-self.difference, -self.high, -self.low)

    @property
    def verdict(self) -> Verdict:
        """`better`, `worse`, or `no difference shown`."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"


def compare_scores(first: Scores, second: Scores) -> ScoreDifference:
    """Return the difference of two methods' mean scores."""
    return compare_pairs({"first": first, "second": second})["first", "second"]


def compare_pairs(scores: Mapping[str, Scores]) -> dict[tuple[str, str], ScoreDifference]:
    """Return the difference between each method and each method after it.

    Args:
        scores: scores of each method, by its name.

    Returns:
        The differences by the names of the first and the second method.
    """
    arrays = {name: np.asarray(values, dtype=float) for name, values in scores.items()}
    if len(arrays) < 2:
        return {}
    samples = _BootstrapSamples(arrays)
    differences: dict[tuple[str, str], ScoreDifference] = {}
    for first in list(arrays)[:-1]:
        others = [second for name, second in combinations(arrays, 2) if name == first]
        resampled = np.stack([samples.sample_differences(first, second) for second in others])
        lows, highs = np.percentile(resampled, [(100 - CONFIDENCE_PERCENT) / 2, (100 + CONFIDENCE_PERCENT) / 2], axis=1)
        for second, low, high in zip(others, lows, highs, strict=True):
            mean = float(arrays[first].mean() - arrays[second].mean())
            differences[first, second] = ScoreDifference(mean, float(low), float(high))
    return differences


class _BootstrapSamples:
    """The mean scores of every method in each resample."""

    def __init__(self, scores: Mapping[str, Float[ndarray, "_ N"]]):
        rng = np.random.default_rng(0)
        means = _resample_means(np.concatenate(list(scores.values())), rng)
        self._rng, self._rng_state = rng, rng.bit_generator.state
        ends = np.cumsum([len(values) for values in scores.values()])[:-1]
        self._means = dict(zip(scores, np.split(means, ends, axis=1), strict=True))
        self._sample_seeds = cache(self._draw_seeds)

    def sample_differences(self, first: str, second: str) -> Float[ndarray, "draws"]:
        """Return the difference of two methods' means in each resample."""
        first_means, second_means = self._means[first], self._means[second]
        seeds = self._sample_seeds(first_means.shape[1], second_means.shape[1])
        differences = _average_over_seeds(first_means, seeds[0]) - _average_over_seeds(second_means, seeds[1])
        # Rounded, because sums of the same numbers may differ in their last digits.
        rounded: Float[ndarray, "draws"] = np.round(differences, 12) + 0.0
        return rounded

    def _draw_seeds(self, num_first: int, num_second: int) -> tuple[Int[ndarray, "draws S1"], Int[ndarray, "draws S2"]]:
        """Draw seeds of two methods with replacement."""
        self._rng.bit_generator.state = self._rng_state
        return self._rng.integers(num_first, size=(NUM_RESAMPLES, num_first)), self._rng.integers(
            num_second, size=(NUM_RESAMPLES, num_second)
        )


def _resample_means(scores: Float[ndarray, "T N"], rng: np.random.Generator) -> Float[ndarray, "draws T"]:
    """Return the mean score of every seed of every method in each resample of the examples."""
    num_examples = scores.shape[1]
    return np.concatenate([(counts @ scores.T) / num_examples for counts in _resample_counts(num_examples, rng)])


def _resample_counts(num_examples: int, rng: np.random.Generator) -> Iterator[Float[ndarray, "chunk N"]]:
    """Yield the counts of each example in chunks of resamples; the counts do not depend on the chunk size."""
    chunk_size = max(1, EXAMPLES_PER_CHUNK // num_examples)
    for start in range(0, NUM_RESAMPLES, chunk_size):
        drawn = rng.integers(num_examples, size=(min(chunk_size, NUM_RESAMPLES - start), num_examples))
        drawn += num_examples * np.arange(len(drawn))[:, None]
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(float)


def _average_over_seeds(means: Float[ndarray, "draws S"], seeds: Int[ndarray, "draws S"]) -> Float[ndarray, "draws"]:
    averages: Float[ndarray, "draws"] = np.take_along_axis(means, seeds, axis=1).mean(axis=1)
    return averages
