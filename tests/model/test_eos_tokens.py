"""A response ends at every EOS token of the tokenizer and the generation configuration, and at no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from softprompt.model import CausalModel, FrozenModel, freeze_network, load_meta_model, load_model
from tests.tiny import CONFIGS, MASKED_FAMILIES, shared_model, tiny_model, tiny_tokenizer


def configured(eos_token_id: Any, tokenizer: PreTrainedTokenizerFast | None = None) -> FrozenModel:
    model = tiny_model("llama")
    model.network.generation_config.eos_token_id = eos_token_id
    return freeze_network(model.network, tokenizer or tiny_tokenizer(bos=True), "tiny")


def without_eos() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer()._tokenizer, bos_token="<s>")


@pytest.mark.parametrize(
    ("eos_token_id", "expected"),
    [(None, (1,)), (1, (1,)), (7, (1, 7)), ([7, 1, 9], (1, 7, 9)), ((7, 7), (1, 7)), ([], (1,))],
)
def test_eos_tokens_begin_with_that_of_the_tokenizer_and_have_no_duplicates(
    eos_token_id: Any, expected: tuple[int, ...]
) -> None:
    model = configured(eos_token_id)
    assert model.eos_token_ids == expected
    assert model.eos_token_id == 1


@pytest.mark.parametrize("wrong", [384, -1, "7", 7.5, False])
def test_unknown_eos_tokens_are_ignored_with_a_warning(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert configured([wrong, 9]).eos_token_ids == (1, 9)
    [record] = caplog.records
    assert record.getMessage() == f"tiny: `eos_token_id` {wrong!r} is ignored: its tokens are numbered 0 to 383"


def test_valid_eos_tokens_cause_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    configured([7, 1])
    assert not caplog.records


@pytest.mark.parametrize(("eos_token_id", "expected"), [(None, ()), (7, (7,)), ([9, 7], (9, 7))])
def test_eos_tokens_are_read_from_the_generation_config_if_the_tokenizer_has_none(
    eos_token_id: Any, expected: tuple[int, ...]
) -> None:
    model = configured(eos_token_id, without_eos())
    assert model.eos_token_ids == expected
    assert model.eos_token_id == (expected[0] if expected else None)


@pytest.mark.parametrize("family", MASKED_FAMILIES)
def test_the_eos_token_of_a_masked_model_is_its_separator(family: str) -> None:
    assert shared_model(family).eos_token_ids == (1,)


@pytest.mark.parametrize("load", [load_model, load_meta_model])
def test_eos_tokens_are_loaded_from_the_generation_config_of_a_folder(load: Any, tmp_path: Path) -> None:
    model = configured([1, 7])
    model.network.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [1, 7]
    assert load(str(tmp_path)).eos_token_ids == (1, 7)


@pytest.mark.parametrize("load", [load_model, load_meta_model])
def test_eos_tokens_are_read_from_the_model_config_without_a_generation_config(load: Any, tmp_path: Path) -> None:
    model = configured(None)
    model.network.config.eos_token_id = [1, 8]
    model.network.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    assert load(str(tmp_path)).eos_token_ids == (1, 8)


def test_every_causal_family_has_its_eos_token() -> None:
    for family in CONFIGS:
        model = shared_model(family)
        assert isinstance(model, CausalModel)
        assert model.eos_token_ids == (1,)
