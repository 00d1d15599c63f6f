"""Hidden states below a prefix are computed once per text, and cached ones equal computed ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from softprompt.model import CausalModel
from tests.strategies import laid_out, random_prefix
from tests.tiny import FAMILIES, shared_model, tiny_model


class Shelves:
    """Store in memory, which checks that no tensor is stored twice."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, bytes], Tensor] = {}

    def get(self, shelf: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        return {key: self.kept[shelf, key] for key in keys if (shelf, key) in self.kept}

    def put(self, shelf: str, tensors: dict[bytes, Tensor]) -> None:
        assert not any((shelf, key) in self.kept for key in tensors)
        self.kept.update({(shelf, key): tensor for key, tensor in tensors.items()})


def remembering(family: str, store: Shelves) -> CausalModel:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    return model.with_hidden_state_cache(store)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_cached_hidden_states_equal_computed_ones(family: str, side: str) -> None:
    store = Shelves()
    model, prefix = remembering(family, store), random_prefix(shared_model(family), 3, seed=0, ground=1)
    ids, mask = laid_out([[5, 9, 77], [31, 8], [5, 9, 77]], side, extra=1)
    first = model.compute_hidden_states(ids, mask, prefix)
    assert len(store.kept) == 2
    again = model.compute_hidden_states(ids, mask, prefix)
    expected = shared_model(family).compute_hidden_states(ids, mask, prefix)
    assert torch.equal(again[mask], first[mask])
    torch.testing.assert_close(first[mask], expected[mask], atol=1e-5, rtol=0)


@torch.no_grad()
def test_cached_states_of_a_text_are_bit_identical_in_every_batch() -> None:
    alone, among = Shelves(), Shelves()
    prefix = random_prefix(shared_model("llama"), 3, seed=0, ground=1)
    remembering("llama", alone).compute_hidden_states(*laid_out([[5, 9, 77]], "right"), prefix)
    remembering("llama", among).compute_hidden_states(*laid_out([[8] * 9, [5, 9, 77]], "right"), prefix)
    (key,) = alone.kept
    assert torch.equal(among.kept[key], alone.kept[key])


@torch.no_grad()
def test_models_and_frozen_layer_counts_have_separate_cache_entries() -> None:
    store = Shelves()
    ids, mask = laid_out([[5, 9, 77]], "right")
    for family in ("llama", "qwen2"):
        for first in (1, 2):
            prefix = random_prefix(shared_model(family), 3, seed=0, ground=first)
            remembering(family, store).compute_hidden_states(ids, mask, prefix)
    assert len(store.kept) == 4


@torch.no_grad()
def test_another_configuration_of_the_same_weights_has_a_separate_cache_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    store, ids = Shelves(), laid_out([[5, 9, 77]], "right")
    prefix = random_prefix(shared_model("llama"), 3, seed=0, ground=1)
    for epsilon in (1e-6, 1e-2):
        model = tiny_model("llama")
        assert isinstance(model, CausalModel)
        monkeypatch.setattr(model.network.config, "rms_norm_eps", epsilon)  # all tiny models share the configuration
        model.with_hidden_state_cache(store).compute_hidden_states(*ids, prefix)
    assert len(store.kept) == 2


@torch.no_grad()
def test_frozen_prefixes_have_separate_cache_entries() -> None:
    store = Shelves()
    for seed in (0, 0, 1):
        remembering("llama", store).compute_hidden_states(
            *laid_out([[5, 9, 77]], "right"), random_prefix(shared_model("llama"), 3, seed, ground=1)
        )
    assert len(store.kept) == 2


@torch.no_grad()
def test_states_are_cached_only_if_every_sequence_has_a_frozen_prefix() -> None:
    store = Shelves()
    model = remembering("llama", store)
    ids, mask = laid_out([[5, 9, 77]] * 2, "right")
    top, whole = random_prefix(model, 3, seed=0, ground=1), random_prefix(model, 3, seed=0)
    for payloads in (None, whole, [top, whole], [top, None]):
        model.compute_hidden_states(ids, mask, payloads)
    assert not store.kept
