"""Saved prompts concatenated and saved as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from softprompt.errors import BaseModelMismatch, SettingError
from softprompt.model import FrozenModel, KVPrefix, Payload, PromptEmbeddings
from softprompt.saved import SavedPrompt, compose_prompts
from softprompt.tasks import ClassificationTask, LinearHead
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model, tiny_model

TASK = ClassificationTask(labels=("good", "bad"))


def saved(model: FrozenModel, payload: Payload, head: LinearHead | None = None) -> SavedPrompt:
    return SavedPrompt.from_payload(model, payload, TASK, method={"name": "test"}, trained_parameters=7, head=head)


def test_a_composed_prompt_has_the_first_prompts_task_and_the_digests_of_all(tmp_path: Path) -> None:
    model = shared_model("llama")
    task, tenant = saved(model, random_prefix(model, 3, 0)), saved(model, random_embeddings(model, 2, 1))
    both = compose_prompts(model, [task, tenant])
    both.save_to(tmp_path / "both")
    read = SavedPrompt.from_folder(tmp_path / "both")
    assert read.manifest.task == TASK
    assert read.manifest.method == {
        "name": "composed",
        "of": [task.manifest.content_hash, tenant.manifest.content_hash],
    }
    assert isinstance(read.payload, KVPrefix)
    assert read.payload.num_virtual_tokens == 5
    assert read.manifest.trained_parameters == 14


def test_composing_embeddings_concatenates_them_as_embeddings() -> None:
    model = shared_model("gpt2")
    parts = [random_embeddings(model, P, P) for P in (2, 3)]
    both = compose_prompts(model, [saved(model, part) for part in parts])
    assert isinstance(both.payload, PromptEmbeddings)
    assert torch.equal(both.payload.tensor, torch.cat([part.tensor for part in parts]))
    assert both.peft_incompatibility is None


def test_only_the_first_of_composed_prompts_may_have_a_linear_head() -> None:
    model = shared_model("llama")
    with_head = saved(model, random_prefix(model, 2, 0), LinearHead(2, model.shape.hidden_size))
    without = saved(model, random_prefix(model, 2, 1))
    assert compose_prompts(model, [with_head, without]).head is not None
    with pytest.raises(SettingError, match="only the first"):
        compose_prompts(model, [without, with_head])


def test_composing_prompts_of_different_base_models_is_rejected() -> None:
    model, other = shared_model("llama"), tiny_model("llama", seed=5)
    with pytest.raises(BaseModelMismatch):
        compose_prompts(model, [saved(model, random_prefix(model, 2, 0)), saved(other, random_prefix(other, 2, 0))])
