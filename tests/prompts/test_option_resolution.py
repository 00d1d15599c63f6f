"""Options that depend on the method and the model: the number of virtual tokens, demonstrations, layers, placements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from softprompt.errors import SettingError
from softprompt.model import Placement
from softprompt.prompts import TUNING_METHODS, PromptOptions, num_virtual_tokens, uses_demonstrations
from softprompt.prompts.option_resolution import check_options
from tests.tiny import shared_model

LAYERS = PromptOptions("prefix", layers=2)


def check(options: PromptOptions, family: str = "llama") -> None:
    check_options(options, TUNING_METHODS[options.method], shared_model(family))


def test_default_number_of_virtual_tokens_leaves_most_of_a_short_window() -> None:
    model = shared_model("llama")
    assert num_virtual_tokens(PromptOptions("prompt"), model) == model.shape.window // 4 < 200
    assert num_virtual_tokens(PromptOptions("prompt", 7), model) == 7


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (PromptOptions("context"), True),
        (PromptOptions("context", init="text:a film"), False),
        (PromptOptions("prefix"), False),
    ],
)
def test_demonstrations_are_used_by_method_unless_a_text_is_given(options: PromptOptions, expected: bool) -> None:
    assert uses_demonstrations(options, shared_model("llama")) is expected


def test_a_number_of_trained_layers_is_accepted_for_prefix_tuning() -> None:
    check(LAYERS)


@pytest.mark.parametrize(
    ("options", "family", "message"),
    [
        (replace(LAYERS, method="prompt"), "llama", "cannot train single layers"),
        (LAYERS, "bert", "causal models only"),
        (replace(LAYERS, placement=Placement.AFTER_BOS), "llama", 'choose `placement="before"`'),
        (replace(LAYERS, layers=0), "llama", "choose 1 to 3"),
        (replace(LAYERS, layers=4), "llama", "choose 1 to 3"),
        (PromptOptions("prefix", placement=Placement.AFTER_TEXT), "llama", "prefix does not support `placement`"),
        (PromptOptions("context"), "bert", "context supports causal models"),
        (PromptOptions("multitask"), "llama", "name them with `tasks`"),
        (PromptOptions("prefix", tasks=("a", "b")), "llama", '`method="multitask"`'),
    ],
)
def test_incompatible_options_are_rejected(options: PromptOptions, family: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check(options, family)
