"""A packed model gives the same results as the original."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.errors import SettingError
from softprompt.model import CausalModel, FrozenModel
from softprompt.model.fingerprint import compute_fingerprint
from softprompt.model.hooks.packed_layers import PackedDecoderLayer, PackedLinear, round_up_rows
from tests.laws.test_9_streamed_is_whole import SERVED
from tests.strategies import random_embeddings
from tests.tiny import shared_model, tiny_model

TEXTS = torch.tensor([[5, 9, 77, 31, 6], [8, 20, 3, 0, 0]])
MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def packed(family: str) -> CausalModel:
    model = tiny_model(family)
    assert isinstance(model, CausalModel)
    model.pack_weights()
    model.pack_weights()  # packing again has no effect
    return model


def logits(model: FrozenModel, *, words: torch.Tensor | None = None) -> torch.Tensor:
    """Compute logits after a prompt that the same model compiles."""
    with torch.no_grad():
        payload = model.compile_payload(random_embeddings(model, 3, 0))
        return model.compute_logits(model.compute_hidden_states(TEXTS, MASK, payload)[MASK], words)


@pytest.mark.parametrize("family", [*SERVED, "bloom", "falcon"])
def test_logits_of_a_packed_model_equal_those_of_the_original(family: str) -> None:
    model = packed(family)
    torch.testing.assert_close(logits(model), logits(shared_model(family)), atol=1e-4, rtol=0)
    some = torch.tensor([7, 3])
    torch.testing.assert_close(logits(model, words=some), logits(shared_model(family), words=some), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", SERVED)
def test_the_engine_generates_the_same_tokens_with_a_packed_model(family: str) -> None:
    written = []
    for model in (shared_model(family), packed(family)):
        engine = Engine(model, max_num_seqs=3, max_model_len=60, max_num_batched_tokens=5)
        heard: list[list[TokenOutput]] = [[], [], []]
        for i, each in enumerate(heard):
            payload = model.compile_payload(random_embeddings(model, 2, i)) if i else None
            engine.add_request(
                EngineRequest((5, 9 + i, 77), SamplingParams(max_new_tokens=6, ignore_eos=True)), payload, each.append
            )
        while not engine.is_idle:
            engine.step()
        written.append([[each.token_id for each in row] for row in heard])
    assert written[0] == written[1]


def test_llama_like_layers_are_replaced_by_packed_decoder_layers() -> None:
    for family, few in {"llama": True, "mistral": True, "qwen2": True, "qwen3": True, "gemma2": False}.items():
        model = packed(family)
        layer = model.family.get_layers(model.network)[0]
        assert isinstance(layer, PackedDecoderLayer) is few
        assert not [each for each in layer.modules() if type(each) is torch.nn.Linear]
        assert [each for each in layer.modules() if isinstance(each, PackedLinear)]


def test_packed_linear_equals_linear_for_any_row_count() -> None:
    linear = torch.nn.Linear(24, 40).requires_grad_(False)
    one = PackedLinear(linear.weight, linear.bias)
    for count in (0, 1, 16, 17, 31, 50, 520):
        states = torch.randn(1, count, 24)
        torch.testing.assert_close(one(states), linear(states), atol=1e-5, rtol=0)


def test_row_counts_are_rounded_up_to_few_values() -> None:
    assert [round_up_rows(count) for count in (0, 1, 16, 17, 33, 64, 65, 257, 1025)] == [
        0,
        1,
        16,
        18,
        36,
        64,
        72,
        272,
        1088,
    ]
    found = [round_up_rows(count) for count in range(1, 2049)]
    assert all(count <= each <= count * 9 / 8 for count, each in enumerate(found, start=1))
    assert len(set(found)) == 96
    assert [round_up_rows(each) for each in found] == found


def test_every_layer_multiplies_rounded_row_counts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel of oneDNN is kept for each number of rows, so all batches are padded to few numbers."""
    met = set()
    multiply = torch.ops.mkldnn._linear_pointwise

    class Watched:
        def __call__(self, states: torch.Tensor, *rest: Any) -> torch.Tensor:
            met.add(states.shape[:-1].numel())
            return multiply(states, *rest)

        def binary(self, states: torch.Tensor, *rest: Any) -> torch.Tensor:
            met.add(states.shape[:-1].numel())
            return multiply.binary(states, *rest)

    model = packed("llama")
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", Watched())
    with torch.no_grad():
        for rows in (1, 3):
            for length in (5, 11, 21, 39):
                ids = torch.full((rows, length), 7)
                model.compute_hidden_states(ids, ids > 0)
    assert met == {5, 11, 15, 22, 36, 40, 64, 120}


def test_a_packed_model_keeps_the_fingerprint_of_its_original_weights() -> None:
    model = packed("llama")
    assert model.fingerprint == compute_fingerprint(shared_model("llama").network)
    assert model.num_parameters == shared_model("llama").num_parameters


def test_training_through_a_packed_model_is_rejected() -> None:
    model = packed("llama")
    embeddings = random_embeddings(model, 2, 0)
    with pytest.raises(SettingError, match="reload the model to train"):
        model.compile_payload(embeddings.with_tensor(embeddings.tensor.requires_grad_(True)))


def test_weights_in_bfloat16_are_not_packed() -> None:
    model = tiny_model("llama")
    assert isinstance(model, CausalModel)
    model.network.to(torch.bfloat16)
    model.pack_weights()
    assert not [each for each in model.network.modules() if isinstance(each, PackedLinear | PackedDecoderLayer)]
