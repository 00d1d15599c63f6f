"""Construction of prompts: the initial value, the seed, and choices that do not exist."""

from __future__ import annotations

import pytest
import torch

from softprompt.errors import SettingError
from softprompt.model import KVPrefix, PromptEmbeddings
from softprompt.prompts import TUNING_METHODS, PromptOptions, build_prompt
from tests import strategies
from tests.prompts.factories import LABELS, TEXT, P, build_tiny_prompt
from tests.tiny import shared_model


@pytest.mark.parametrize(("method", "encoder"), strategies.METHODS)
def test_prompt_starts_exactly_at_its_initial_value(method: str, encoder: str) -> None:
    model = shared_model("llama")
    words = model.embed_tokens(torch.tensor([model.prompt_tokenizer.tokenize(TEXT)]))[0]
    with torch.no_grad():
        payload = build_tiny_prompt(method, encoder)()
    expected = words if isinstance(payload, PromptEmbeddings) else model.compute_kv(words)
    torch.testing.assert_close(payload.tensor, expected)


@pytest.mark.parametrize(("method", "encoder"), strategies.methods_starting_from("random"))
def test_seed_determines_all_weights(method: str, encoder: str) -> None:
    first, same, other = (
        build_tiny_prompt(method, encoder, init="random", seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("method", "init"),
    [
        (name, init)
        for name in dict(strategies.METHODS)
        for init in (*TUNING_METHODS[name].initializers, "text:the plot was a bore")
        if init != "prompt"
    ],
)
def test_every_initializer_builds_a_finite_payload(method: str, init: str) -> None:
    payload = build_tiny_prompt(method, init=init)()
    assert payload.num_virtual_tokens == P
    assert payload.tensor.isfinite().all()
    assert isinstance(payload, KVPrefix if method in ("prefix", "p-tuning-v2") else PromptEmbeddings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PromptOptions("magic"), "unknown method 'magic': one of prompt"),
        (PromptOptions("prompt", encoder="mlp"), "unknown encoder 'mlp': one of none"),
        (PromptOptions("prefix", init="magic"), "unknown init 'magic': one of text"),
        (PromptOptions("prefix", head="magic"), "unknown head 'magic'"),
        (PromptOptions("prefix", 0), "0 virtual tokens"),
        (PromptOptions("prefix", -3), "-3 virtual tokens"),
        (PromptOptions("prefix", 128), "fewer than 128"),
        (PromptOptions("prefix", encoder="mlp", freeze_sink=True), "directly trained keys"),
    ],
)
def test_unknown_and_invalid_options_are_rejected(options: PromptOptions, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build_prompt(options, shared_model("llama"), "a film", LABELS)


def test_linear_head_needs_labels() -> None:
    with pytest.raises(SettingError, match="this task has none"):
        build_prompt(PromptOptions("prefix", P, head="linear"), shared_model("llama"), "a film")
