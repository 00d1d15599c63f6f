"""How alike prompts are."""

from __future__ import annotations

import pytest
import torch

from softprompt.errors import SettingError
from softprompt.evaluation.similarity import similarity
from softprompt.model import Embeddings, Payload, Placement, Prefix
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model


def saved(payload: Payload, family: str = "llama") -> SavedPrompt:
    return SavedPrompt.make(
        shared_model(family), payload, GenerationTask(), method={"name": "test"}, trained_parameters=1
    )


def test_a_prompt_is_like_itself_and_unlike_its_opposite() -> None:
    tensor = torch.randn(1, 24, generator=torch.Generator().manual_seed(0))
    found = similarity([saved(Embeddings(t)) for t in (tensor, 3 * tensor, -tensor)])
    for measure in (found.mean_token, found.token_pairs):
        torch.testing.assert_close(torch.tensor(measure), torch.tensor([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]]))


def test_the_two_measures() -> None:
    right, up = torch.eye(24)[:2]
    found = similarity([saved(Embeddings(torch.stack([right, up]))), saved(Embeddings(right.unsqueeze(0)))])
    assert found.mean_token[0][1] == pytest.approx(2**-0.5)
    assert found.token_pairs[0][1] == pytest.approx(0.5)


def test_prefixes_of_other_lengths_compare_and_a_bos_does_not_count() -> None:
    model = shared_model("llama")
    plain = random_prefix(model, 3, 0)
    bos = torch.randn(model.shape.prefix(1))
    behind_bos = Prefix(torch.cat([bos, plain.tensor], dim=3), Placement.AFTER_BOS, has_bos=True)
    found = similarity([saved(plain), saved(behind_bos), saved(random_prefix(model, 7, 1))])
    assert found.mean_token[0][1] == pytest.approx(1.0)
    assert abs(found.mean_token[0][2]) < 0.5


def test_what_cannot_be_compared() -> None:
    model = shared_model("llama")
    embeddings, prefix = saved(random_embeddings(model, 2, 0)), saved(random_prefix(model, 2, 0))
    with pytest.raises(SettingError, match="at least two"):
        similarity([prefix])
    with pytest.raises(SettingError, match="some of the prompts are embeddings"):
        similarity([embeddings, prefix])
    with pytest.raises(SettingError, match="several base models"):
        similarity([prefix, saved(random_prefix(shared_model("gpt2"), 2, 0), "gpt2")])
