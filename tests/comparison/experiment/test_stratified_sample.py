"""Draws: alike for every way, balanced, and the small inside the large."""

from __future__ import annotations

from collections import Counter

import pytest

from softprompt.comparison import Experiment
from softprompt.comparison.experiment.stratified_sample import draw_stratified_subset
from softprompt.errors import SettingError


def texts(bench: Experiment, count: int, seed: int) -> list[str]:
    return [example.get_text("text") for example in draw_stratified_subset(bench.training, count, seed, bench.task)]


def test_samples_are_balanced_over_labels(bench: Experiment) -> None:
    for count in (2, 7, 24):
        labels = Counter(e.get_text("label") for e in draw_stratified_subset(bench.training, count, 0, bench.task))
        assert abs(labels["good"] - labels["bad"]) <= 1
        assert sum(labels.values()) == count


def test_the_seed_decides_and_more_holds_fewer(bench: Experiment) -> None:
    assert texts(bench, 6, 1) == texts(bench, 6, 1) != texts(bench, 6, 2)
    assert texts(bench, 12, 1)[:6] == texts(bench, 6, 1)


def test_impossible_samples_are_rejected(bench: Experiment) -> None:
    with pytest.raises(SettingError, match="there are only 24 training examples"):
        texts(bench, 25, 0)
