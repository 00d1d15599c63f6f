"""Concatenated prompts, and keys that are rotated to their new positions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from torch import Tensor
from transformers.cache_utils import Cache

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, KVPrefix, Placement, PromptEmbeddings, compose_payloads
from softprompt.model.hooks.cache_layers import CapturingCacheLayer
from softprompt.model.rotary import shift_positions
from tests.strategies import causal_families, lengths, random_embeddings, random_prefix, seeds
from tests.tiny import FAMILIES, MASKED_FAMILIES, shared_model

LEARNED = ("gpt2", "opt")


def prefilled_at(model: FrozenModel, embeddings: Tensor, first: int) -> Tensor:
    """Compute the keys and values of embeddings that attend only to each other, at positions from `first` on."""
    layers = [CapturingCacheLayer() for _ in range(model.shape.num_layers)]
    model.family.get_backbone(model.network)(
        inputs_embeds=embeddings.unsqueeze(0),
        position_ids=torch.arange(first, first + len(embeddings)).unsqueeze(0),
        past_key_values=Cache(layers=list(layers)),
        use_cache=True,
    )
    return torch.stack([layer.captured_kv for layer in layers])


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in (*LEARNED, "bloom", "falcon-alibi")])
@torch.no_grad()
def test_shifted_keys_equal_keys_computed_at_the_later_positions(family: str) -> None:
    model = shared_model(family)
    embeddings = random_embeddings(model, 4, seed=0).tensor
    moved = shift_positions(model, model.compute_kv(embeddings), 7)
    torch.testing.assert_close(moved, prefilled_at(model, embeddings, 7), atol=1e-4, rtol=0)
    assert (moved - model.compute_kv(embeddings)).abs().max() > 1e-2


@given(family=causal_families, P=lengths, Q=lengths, seed=seeds)
@torch.no_grad()
def test_composed_embeddings_are_concatenated(family: str, P: int, Q: int, seed: int) -> None:
    model = shared_model(family)
    first, second = random_embeddings(model, P, seed), random_embeddings(model, Q, seed + 1)
    both = compose_payloads(model, [first, second])
    assert torch.equal(both.tensor, torch.cat([first.tensor, second.tensor]))


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in LEARNED])
@torch.no_grad()
def test_a_masked_prefix_does_not_change_the_next_prefix(family: str) -> None:
    """The keys in front point away from every query, so the next prefix must work as if it were alone."""
    model = shared_model(family)
    alone = random_prefix(model, 5, seed=1)
    ids = torch.tensor([[9, 10, 11]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    composed = compose_payloads(model, [random_prefix(model, 3, seed=0), alone])
    assert isinstance(composed, KVPrefix)
    expected = model.compute_logits(model.compute_hidden_states(ids, mask, alone))
    past = model.make_past_state(composed, 1)  # type: ignore[attr-defined]  # causal
    unseen = past.attention_mask.clone()
    unseen[:, :3] = False
    if family in ("bloom", "falcon-alibi"):  # positions come from the mask: keys are not rotated
        found = model.forward_with_past(ids, mask, replace(past, attention_mask=unseen))  # type: ignore[attr-defined]
    else:
        found = advanced_from(model, ids, past.kv_cache, unseen, first=8)
    torch.testing.assert_close(model.compute_logits(found), expected, atol=1e-4, rtol=0)


def advanced_from(model: FrozenModel, ids: Tensor, cache: Cache, seen: Tensor, first: int) -> Tensor:
    """Compute the last layer's output for tokens at positions from `first` on; `seen` masks the cache."""
    output: Tensor = model.family.get_backbone(model.network)(
        inputs_embeds=model.embed_tokens(ids),
        attention_mask=torch.cat([seen, torch.ones_like(ids, dtype=torch.bool)], dim=1).long(),
        position_ids=torch.arange(first, first + ids.shape[1]).unsqueeze(0),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return output


@torch.no_grad()
def test_embeddings_and_a_prefix_become_one_prefix() -> None:
    model = shared_model("llama")
    embeddings, prefix = random_embeddings(model, 2, seed=0), random_prefix(model, 3, seed=1)
    both = compose_payloads(model, [embeddings, prefix])
    assert isinstance(both, KVPrefix)
    assert torch.equal(both.tensor[:, :, :, :2], model.compute_kv(embeddings.tensor))
    torch.testing.assert_close(both.tensor[:, :, :, 2:], shift_positions(model, prefix.tensor, 2))


@torch.no_grad()
def test_composed_prefixes_after_bos_contain_bos_once() -> None:
    model = shared_model("llama")
    each = [random_prefix(model, 2, seed) for seed in (0, 1)]
    placed = [KVPrefix(p.tensor, Placement.AFTER_BOS) for p in each]
    both = compose_payloads(model, placed)
    assert isinstance(both, KVPrefix)
    assert (both.num_positions, both.num_virtual_tokens) == (5, 4)
    torch.testing.assert_close(both.tensor[:, :, :, 3:], shift_positions(model, each[1].tensor, 2))


@pytest.mark.parametrize("family", MASKED_FAMILIES)
@torch.no_grad()
def test_masked_models_compose_only_payloads_of_the_same_kind(family: str) -> None:
    model = shared_model(family)
    prefixes = [random_prefix(model, 2, seed) for seed in (0, 1)]
    both = compose_payloads(model, list(prefixes))
    assert torch.equal(both.tensor, torch.cat([p.tensor for p in prefixes], dim=3))
    with pytest.raises(SettingError, match="do not compose"):
        compose_payloads(model, [prefixes[0], random_embeddings(model, 2, 0)])


@pytest.mark.parametrize(
    "placements", [(Placement.BEFORE, Placement.AFTER_BOS), (Placement.AFTER_TEXT, Placement.AFTER_TEXT), ()]
)
def test_incompatible_payloads_are_rejected(placements: tuple[Placement, ...]) -> None:
    model = shared_model("llama")
    with pytest.raises(SettingError, match="compose"):
        compose_payloads(model, [PromptEmbeddings(torch.zeros(1, 24), placement) for placement in placements])
