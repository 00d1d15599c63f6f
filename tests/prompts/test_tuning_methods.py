"""The table of tuning methods: lookups by name, and default learning rates."""

from __future__ import annotations

import pytest

from softprompt.errors import SettingError
from softprompt.prompts import TUNING_METHODS
from softprompt.prompts.tuning_methods import PARTIAL_LAYERS_LR_MULTIPLIER, get_tuning_method
from tests.tiny import shared_model


def test_get_tuning_method_returns_known_methods_and_rejects_unknown_ones() -> None:
    assert get_tuning_method("prefix") is TUNING_METHODS["prefix"]
    with pytest.raises(SettingError, match="unknown method 'magic': one of prompt, residual"):
        get_tuning_method("magic")


def test_first_builder_is_the_default() -> None:
    method = TUNING_METHODS["p-tuning"]
    assert method.get_builder(None) is method.get_builder("mlp") is method.builders["mlp"]


def test_fewer_trained_layers_have_a_larger_learning_rate() -> None:
    method, model = TUNING_METHODS["prefix"], shared_model("llama")
    rate = method.get_default_learning_rate(model)
    assert method.get_default_learning_rate(model, model.shape.num_layers) == rate
    assert method.get_default_learning_rate(model, 1) == PARTIAL_LAYERS_LR_MULTIPLIER * rate
