"""A packed model is the same model."""

from __future__ import annotations

import pytest
import torch

from softprompt.engine import Engine, Request, Sampling, Written
from softprompt.errors import SettingError
from softprompt.model import CausalModel, FrozenModel
from softprompt.model.fingerprint import fingerprint
from softprompt.model.packing import PackedLayer, PackedLinear
from tests.laws.test_9_streamed_is_whole import SERVED
from tests.strategies import random_embeddings
from tests.tiny import shared_model, tiny_model

TEXTS = torch.tensor([[5, 9, 77, 31, 6], [8, 20, 3, 0, 0]])
MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def packed(family: str) -> CausalModel:
    model = tiny_model(family)
    assert isinstance(model, CausalModel)
    model.pack()
    model.pack()  # once more is nothing
    return model


def logits(model: FrozenModel, *, words: torch.Tensor | None = None) -> torch.Tensor:
    """Behind a prompt, which is compiled by the same model."""
    with torch.no_grad():
        payload = model.compile(random_embeddings(model, 3, 0))
        return model.logits(model.hidden(TEXTS, MASK, payload)[MASK], words)


@pytest.mark.parametrize("family", [*SERVED, "bloom", "falcon"])
def test_its_logits_are_the_same(family: str) -> None:
    model = packed(family)
    torch.testing.assert_close(logits(model), logits(shared_model(family)), atol=1e-4, rtol=0)
    some = torch.tensor([7, 3])
    torch.testing.assert_close(logits(model, words=some), logits(shared_model(family), words=some), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", SERVED)
def test_the_engine_writes_the_same_with_it(family: str) -> None:
    written = []
    for model in (shared_model(family), packed(family)):
        engine = Engine(model, slots=3, length=60, tokens=5)
        heard: list[list[Written]] = [[], [], []]
        for i, each in enumerate(heard):
            payload = model.compile(random_embeddings(model, 2, i)) if i else None
            engine.add(Request((5, 9 + i, 77), Sampling(max_new_tokens=6, ignore_eos=True)), payload, each.append)
        while not engine.is_idle:
            engine.step()
        written.append([[each.token for each in row] for row in heard])
    assert written[0] == written[1]


def test_layers_like_llamas_are_made_of_fewer_calls() -> None:
    for family, few in {"llama": True, "mistral": True, "qwen2": True, "qwen3": True, "gemma2": False}.items():
        model = packed(family)
        layer = model.family.layers(model.network)[0]
        assert isinstance(layer, PackedLayer) is few
        assert not [each for each in layer.modules() if type(each) is torch.nn.Linear]
        assert [each for each in layer.modules() if isinstance(each, PackedLinear)]


def test_it_is_named_after_the_weights_that_it_was_packed_from() -> None:
    model = packed("llama")
    assert model.fingerprint == fingerprint(shared_model("llama").network)
    assert model.num_parameters == shared_model("llama").num_parameters


def test_it_is_not_trained() -> None:
    model = packed("llama")
    embeddings = random_embeddings(model, 2, 0)
    with pytest.raises(SettingError, match="does not train"):
        model.compile(embeddings.with_tensor(embeddings.tensor.requires_grad_(True)))


def test_other_precisions_stay_as_they_are() -> None:
    model = tiny_model("llama")
    assert isinstance(model, CausalModel)
    model.network.to(torch.bfloat16)
    model.pack()
    assert not [each for each in model.network.modules() if isinstance(each, PackedLinear | PackedLayer)]
