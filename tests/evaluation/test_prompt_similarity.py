"""Similarity of prompts."""

from __future__ import annotations

import pytest
import torch

from softprompt.errors import SettingError
from softprompt.evaluation.prompt_similarity import compute_prompt_similarity
from softprompt.model import KVPrefix, Payload, Placement, PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model


def build_prompt(payload: Payload, family: str = "llama") -> SavedPrompt:
    return SavedPrompt.from_payload(
        shared_model(family), payload, GenerationTask(), method={"name": "test"}, trained_parameters=1
    )


def test_similarity_is_1_with_a_scaled_copy_and_minus_1_with_the_negative() -> None:
    tensor = torch.randn(1, 24, generator=torch.Generator().manual_seed(0))
    similarity = compute_prompt_similarity([build_prompt(PromptEmbeddings(t)) for t in (tensor, 3 * tensor, -tensor)])
    for measure in (similarity.mean_token, similarity.token_pairs):
        torch.testing.assert_close(torch.tensor(measure), torch.tensor([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]]))


def test_mean_token_compares_means_and_token_pairs_averages_over_pairs() -> None:
    right, up = torch.eye(24)[:2]
    similarity = compute_prompt_similarity(
        [build_prompt(PromptEmbeddings(torch.stack([right, up]))), build_prompt(PromptEmbeddings(right.unsqueeze(0)))]
    )
    assert similarity.mean_token[0][1] == pytest.approx(2**-0.5)
    assert similarity.token_pairs[0][1] == pytest.approx(0.5)


def test_prefix_similarity_ignores_length_and_bos() -> None:
    model = shared_model("llama")
    plain = random_prefix(model, 3, 0)
    bos = torch.randn(model.shape.get_prefix_shape(1))
    behind_bos = KVPrefix(torch.cat([bos, plain.tensor], dim=3), Placement.AFTER_BOS, has_bos=True)
    similarity = compute_prompt_similarity(
        [build_prompt(plain), build_prompt(behind_bos), build_prompt(random_prefix(model, 7, 1))]
    )
    assert similarity.mean_token[0][1] == pytest.approx(1.0)
    assert abs(similarity.mean_token[0][2]) < 0.5


def test_incomparable_prompts_are_rejected() -> None:
    model = shared_model("llama")
    embeddings, prefix = build_prompt(random_embeddings(model, 2, 0)), build_prompt(random_prefix(model, 2, 0))
    with pytest.raises(SettingError, match="at least two"):
        compute_prompt_similarity([prefix])
    with pytest.raises(SettingError, match="some of the prompts are embeddings, others prefixes"):
        compute_prompt_similarity([embeddings, prefix])
    with pytest.raises(SettingError, match="several base models"):
        compute_prompt_similarity([prefix, build_prompt(random_prefix(shared_model("gpt2"), 2, 0), "gpt2")])
