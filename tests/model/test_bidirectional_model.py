"""Payloads of masked models and encoder-decoders."""

from __future__ import annotations

import pytest

from softprompt.errors import SettingError
from softprompt.model import KVPrefix, Placement
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model

each_family = pytest.mark.parametrize("family", ["bert", "bart"])


@each_family
def test_embeddings_are_not_compiled(family: str) -> None:
    payload = random_embeddings(shared_model(family), 3, 0)
    assert shared_model(family).compile_payload(payload) is payload


@each_family
def test_a_prefix_after_bos_is_rejected(family: str) -> None:
    model = shared_model(family)
    with pytest.raises(SettingError, match=f'{model.shape.kind} models support .* `placement="before"`'):
        model.compile_payload(KVPrefix(random_prefix(model, 3, 0).tensor, Placement.AFTER_BOS))


@each_family
def test_gradient_checkpointing_is_rejected(family: str) -> None:
    with pytest.raises(
        SettingError, match=f"gradient checkpointing is for causal models: train tiny-{family}-0 without"
    ):
        shared_model(family).enable_gradient_checkpointing()
