"""The paired bootstrap finds differences that exist, and no others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from softprompt.comparison.analysis.paired_bootstrap import NUM_RESAMPLES, compare_pairs, compare_scores

N = 400
source = np.random.default_rng(1)


def answered(share: float, seeds: int = 3) -> list[list[float]]:
    return (source.random((seeds, N)) < share).astype(float).tolist()


def test_a_large_difference_is_significant_in_both_directions() -> None:
    good, bad = answered(0.95), answered(0.80)
    found, other = compare_scores(good, bad), compare_scores(bad, good)
    assert (found.verdict, other.verdict) == ("better", "worse")
    assert found.difference == pytest.approx(-other.difference)
    assert found.low < found.difference < found.high


def test_equal_scores_have_no_significant_difference() -> None:
    same = answered(0.9, seeds=1)
    found = compare_scores(same, same)
    assert (found.difference, found.low, found.high, found.verdict) == (0, 0, 0, "no difference shown")


def test_a_single_better_seed_is_not_significant() -> None:
    """Two seeds are like the other method's and one is far better: the bootstrap draws seeds too."""
    other = answered(0.85)
    lucky = [*other[:2], [1.0] * N]
    assert compare_scores(lucky, other).verdict == "no difference shown"


def test_pairing_detects_a_difference_that_unpaired_scores_hide() -> None:
    """A few correct examples in addition to the other method's: unpaired, the noise of the examples would hide them."""
    other = answered(0.6, seeds=1)
    wrong = [i for i, right in enumerate(other[0]) if not right]
    more = [list(other[0])]
    for i in wrong[:12]:
        more[0][i] = 1.0
    assert compare_scores(more, other).verdict == "better"
    assert compare_scores(answered(0.63, seeds=1), answered(0.6, seeds=1)).low < 0


def test_the_false_positive_rate_is_about_one_in_twenty() -> None:
    """Of pairs of equal methods, about one in twenty is reported to differ."""
    wrong = sum(compare_scores(answered(0.9), answered(0.9)).verdict != "no difference shown" for _ in range(60))
    assert wrong <= 8


def drawn_alone(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Koehn's bootstrap of one pair as it is written down: all draws at once, each gathered by itself."""
    source = np.random.default_rng(0)
    rows = source.integers(one.shape[1], size=(NUM_RESAMPLES, one.shape[1]))

    def means(scores: np.ndarray) -> np.ndarray:
        seeds = source.integers(len(scores), size=(NUM_RESAMPLES, len(scores)))
        return np.stack([scores[s][:, r].mean() for s, r in zip(seeds, rows, strict=True)])

    low, high = np.percentile(means(one) - means(other), [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("at_once", [1, 3 * 40, 2**22])
def test_comparing_all_pairs_at_once_gives_the_same_intervals_as_each_pair_alone(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Whatever else is compared, and however many draws are made at a time."""
    monkeypatch.setattr("softprompt.comparison.analysis.paired_bootstrap.EXAMPLES_PER_CHUNK", at_once)
    methods = {str(seeds): source.normal(size=(seeds, 40)) for seeds in (1, 2, 3)}
    methods["again"] = methods["3"][:, ::-1]
    found = compare_pairs(methods)
    assert list(found) == list(itertools.combinations(methods, 2))
    for one, other in found:
        assert (found[one, other].low, found[one, other].high) == pytest.approx(
            drawn_alone(methods[one], methods[other])
        )
        assert found[one, other] == compare_scores(methods[one], methods[other])


def test_equal_scores_have_an_empty_interval_when_compared_with_other_methods() -> None:
    same = source.normal(size=(1, 37)) * 1e3
    found = compare_pairs({"a": same, **{str(n): source.normal(size=(2, 37)) for n in range(5)}, "b": same.copy()})
    assert (found["a", "b"].low, found["a", "b"].high) == (0, 0)


def test_memory_does_not_grow_with_the_number_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than `EXAMPLES_PER_CHUNK` examples are drawn at a time, or one draw's where they are more."""
    sizes: list[int] = []
    integers = np.random.Generator.integers

    class Watched(np.random.Generator):
        def integers(self, high: int, size: tuple[int, int]) -> np.ndarray:  # type: ignore[override]
            sizes.append(size[0] * size[1])
            return integers(self, high, size=size)

    monkeypatch.setattr("softprompt.comparison.analysis.paired_bootstrap.EXAMPLES_PER_CHUNK", 10_000)
    monkeypatch.setattr("numpy.random.default_rng", lambda seed: Watched(np.random.PCG64(seed)))
    compare_pairs({name: source.random((1, 999)) for name in "abc"})
    assert max(sizes) <= 10_000
    assert sum(size > 5000 for size in sizes) == 200  # once for all pairs
