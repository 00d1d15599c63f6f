"""Samples: equal for every method, balanced, and the small one contained in the large one."""

from __future__ import annotations

from collections import Counter

import pytest

from softprompt.comparison import Experiment
from softprompt.comparison.experiment.stratified_sample import draw_stratified_subset
from softprompt.errors import SettingError


def texts(experiment: Experiment, count: int, seed: int) -> list[str]:
    subset = draw_stratified_subset(experiment.training, count, seed, experiment.task)
    return [example.get_text("text") for example in subset]


def test_samples_are_balanced_over_labels(experiment: Experiment) -> None:
    for count in (2, 7, 24):
        subset = draw_stratified_subset(experiment.training, count, 0, experiment.task)
        labels = Counter(example.get_text("label") for example in subset)
        assert abs(labels["good"] - labels["bad"]) <= 1
        assert sum(labels.values()) == count


def test_samples_depend_on_the_seed_and_contain_the_smaller_samples(experiment: Experiment) -> None:
    assert texts(experiment, 6, 1) == texts(experiment, 6, 1) != texts(experiment, 6, 2)
    assert texts(experiment, 12, 1)[:6] == texts(experiment, 6, 1)


def test_samples_larger_than_the_training_set_are_rejected(experiment: Experiment) -> None:
    with pytest.raises(SettingError, match="there are only 24 training examples"):
        texts(experiment, 25, 0)
