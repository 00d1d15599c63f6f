"""Builders of the methods: their numbers of parameters, and the random state that they leave alone."""

from __future__ import annotations

import pytest
import torch

from tests.prompts.factories import D, G, H, L, P, build_tiny_prompt


@pytest.mark.parametrize(
    ("method", "encoder", "parameters"),
    [
        ("prompt", "none", P * H),
        ("residual", "mlp", P * H + 2 * H + (H * 128 + 128) + (128 * H + H)),
        ("p-tuning", "mlp", P * H + (H * 256 + 256) + (256 * 256 + 256) + (256 * H + H)),
        ("multitask", "none", P * H + 2 * (P + H)),
        ("context", "none", P * H),
        ("prefix", "none", L * 2 * G * P * D),
        ("prefix", "mlp", P * H + (H * 512 + 512) + (512 * L * 2 * G * D + L * 2 * G * D)),
        ("p-tuning-v2", "none", L * 2 * G * P * D + 3 * H + 3),
    ],
)
def test_every_method_has_the_expected_number_of_parameters(method: str, encoder: str, parameters: int) -> None:
    assert build_tiny_prompt(method, encoder).num_parameters == parameters


@pytest.mark.parametrize(("method", "encoder"), [("p-tuning", "lstm"), ("prefix", "mlp")])
def test_building_keeps_the_global_random_state(method: str, encoder: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_tiny_prompt(method, encoder, init="random")
    assert torch.equal(torch.rand(1), expected)
