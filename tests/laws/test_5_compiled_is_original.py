"""Law 5: the compiled prefix gives the logits of the embeddings it came from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Tensor

from softprompt.model import FrozenModel, Placement
from softprompt.model.payload import placeholder
from tests.strategies import causal_families, lengths, random_embeddings, rows, seeds
from tests.tiny import shared_model


@torch.no_grad()
def original(model: FrozenModel, virtual: Tensor, sequence: list[int], bos: bool = False) -> Tensor:
    """Logits at the text's tokens with the virtual tokens' embeddings in the same row: transformers' own forward."""
    placeholders = [placeholder(i) for i in range(len(virtual))]
    ids = torch.tensor([[*sequence[:1], *placeholders, *sequence[1:]] if bos else [*placeholders, *sequence]])
    embeddings = model.embed(ids, virtual.unsqueeze(0))
    return model.network(inputs_embeds=embeddings).logits[0, len(virtual) + bos :]


@torch.no_grad()
def compiled(model: FrozenModel, virtual: Tensor, sequence: list[int], placement: Placement) -> Tensor:
    payload = model.compile(random_embeddings(model, len(virtual), 0, placement).with_tensor(virtual))
    ids = torch.tensor([payload.arrange(sequence)])
    return model.logits(model.hidden(ids, torch.ones_like(ids, dtype=torch.bool), payload))[0]


@given(family=causal_families, P=lengths, seed=seeds, sequences=rows)
def test_compiled_is_original(family: str, P: int, seed: int, sequences: list[list[int]]) -> None:
    model = shared_model(family)
    virtual = random_embeddings(model, P, seed).tensor
    for sequence in sequences:
        found = compiled(model, virtual, sequence, Placement.BEFORE)
        torch.testing.assert_close(found, original(model, virtual, sequence), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama"])
def test_after_bos(family: str) -> None:
    model = shared_model(family)
    virtual = random_embeddings(model, 4, seed=3).tensor
    assert model.bos is not None
    sequence = [model.bos, 9, 10, 11]
    found = compiled(model, virtual, sequence, Placement.AFTER_BOS)
    torch.testing.assert_close(found, original(model, virtual, sequence, bos=True), atol=1e-4, rtol=0)


@pytest.mark.real
def test_on_the_real_model(smollm2: FrozenModel) -> None:
    virtual = random_embeddings(smollm2, 12, seed=0).tensor
    sequence = smollm2.tokenize("Review: a gorgeous, moving film\nSentiment:")
    found = compiled(smollm2, virtual, sequence, Placement.BEFORE)
    torch.testing.assert_close(found, original(smollm2, virtual, sequence), atol=1e-4, rtol=0)
