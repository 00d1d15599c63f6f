"""The sparse last layer computes the same output at the output positions as the whole layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from softprompt.model import CausalModel, KVPrefix
from softprompt.model.hooks.sparse_last_layer import select_output_positions
from tests.strategies import laid_out, random_embeddings, random_prefix
from tests.tiny import FAMILIES, shared_model, tiny_model

TEXTS = ([5, 9, 77, 12, 40, 8, 3], [31, 8, 6, 14], [7, 9, 10, 11, 12, 13])
READS = ((4, 6), (3,), (2, 3))  # output positions of each text
MARGIN = 1e-5


def read_of(side: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and output mask of the texts."""
    ids, mask = laid_out(TEXTS, side)
    reads = torch.zeros_like(mask)
    for row, (text, places) in enumerate(zip(TEXTS, READS, strict=True)):
        first = ids.shape[1] - len(text) if side == "left" else 0
        reads[row, [first + place for place in places]] = True
    return ids, mask, reads


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_of_the_sparse_layer_equal_those_of_the_full_layer(family: str, side: str) -> None:
    model = shared_model(family)
    ids, mask, reads = read_of(side)
    weights = torch.randn(int(reads.sum()), model.shape.hidden_size, generator=torch.Generator().manual_seed(0))
    short, long = random_prefix(model, 2, seed=0).tensor, random_prefix(model, 5, seed=1).tensor
    found = []
    for asked in (None, reads):
        leaves = [each.clone().requires_grad_() for each in (short, long)]
        hidden = model.compute_hidden_states(ids, mask, [KVPrefix(leaves[0]), None, KVPrefix(leaves[1])], asked)
        (hidden[reads] * weights).sum().backward()
        found.append([hidden[reads].detach(), *[leaf.grad for leaf in leaves]])
        if asked is not None:  # only two positions of each sequence are computed; the others are the norm of zeros
            assert len(hidden.detach().flatten(0, 1).unique(dim=0)) == 2 * len(TEXTS) + 1
    for whole, few in zip(*found, strict=True):
        torch.testing.assert_close(few, whole, atol=MARGIN, rtol=MARGIN)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_sparse_and_full_layer_states_are_equal_with_and_without_a_prompt(family: str) -> None:
    model = shared_model(family)
    ids, mask, reads = read_of("right")
    for payload in (None, random_prefix(model, 3, seed=0), random_embeddings(model, 3, seed=0)):
        compiled = None if payload is None else model.compile_payload(payload)
        few, whole = (model.compute_hidden_states(ids, mask, compiled, asked)[reads] for asked in (reads, None))
        torch.testing.assert_close(few, whole, atol=MARGIN, rtol=MARGIN)


@torch.no_grad()
def test_sparse_and_full_layer_states_are_equal_without_a_mask() -> None:
    """Without padding and prefix, transformers passes no mask to the layers."""
    model = shared_model("llama")
    ids = torch.tensor([TEXTS[0], TEXTS[0][::-1]])
    mask, reads = torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
    reads[:, -1] = True
    few, whole = (model.compute_hidden_states(ids, mask, None, asked)[reads] for asked in (reads, None))
    torch.testing.assert_close(few, whole, atol=MARGIN, rtol=MARGIN)


def test_output_positions_are_padded_with_other_positions() -> None:
    reads = torch.tensor([[0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    places = select_output_positions(reads)
    assert places is not None
    assert places.tolist() == [[2, 5], [1, 0], [0, 1]]
    assert (
        select_output_positions(torch.ones(2, 3, dtype=torch.bool)) is None
    )  # over half of the positions: the whole layer is cheaper
    assert select_output_positions(torch.zeros(2, 3, dtype=torch.bool)) is None  # no output positions


def test_gradient_checkpointing_does_not_change_gradients_at_output_positions() -> None:
    """With checkpointing, all positions run: a sparse layer would stop early again when it is recomputed."""
    model = tiny_model("llama")
    assert isinstance(model, CausalModel)
    ids, mask, reads = read_of("right")
    gradients = []
    for _ in range(2):
        leaf = random_prefix(model, 2, seed=0).tensor.clone().requires_grad_()
        model.compute_hidden_states(ids, mask, KVPrefix(leaf), reads)[reads].square().sum().backward()
        gradients.append(leaf.grad)
        model.enable_gradient_checkpointing()
    torch.testing.assert_close(*gradients, atol=MARGIN, rtol=MARGIN)
