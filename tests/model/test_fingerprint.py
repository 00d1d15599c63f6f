"""The fingerprint of a model's weights."""

from __future__ import annotations

import torch

from softprompt.model.fingerprint import compute_fingerprint
from tests.tiny import FAMILIES, tiny_model


def test_models_of_different_families_and_seeds_have_different_fingerprints() -> None:
    found = {compute_fingerprint(tiny_model(family, seed).network) for family in FAMILIES for seed in (0, 1)}
    assert len(found) == 2 * len(FAMILIES)


def test_a_fine_tuned_copy_has_another_fingerprint() -> None:
    model = tiny_model("llama")
    before = compute_fingerprint(model.network)
    with torch.no_grad():
        model.network.get_decoder().layers[2].mlp.up_proj.weight.mul_(1.05)
    assert compute_fingerprint(model.network) != before
