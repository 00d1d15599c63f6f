"""Encoder-decoder models: logits, hidden states, and a KV prefix for each of the three attentions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, BartConfig, PreTrainedConfig, T5Config

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.hf_model import SoftPromptModel
from softprompt.model import (
    EncoderDecoderModel,
    FrozenModel,
    KVPrefix,
    ModelKind,
    Placement,
    freeze_network,
    load_model,
)
from softprompt.model.prompt_tokenizer import DECODER_START
from softprompt.prompts import PromptOptions, build_prompt
from tests.strategies import as_row, laid_out, random_embeddings, random_prefix
from tests.tiny import ENCODER_DECODER_CONFIGS, ENCODER_DECODER_FAMILIES, shared_model, tiny_model, tiny_tokenizer

each_family = pytest.mark.parametrize("family", ENCODER_DECODER_FAMILIES)
ENCODER_LAYERS, DECODER_LAYERS = 2, 3
TEXT, SAID = [5, 9, 77, 300], [31, 8]


def encoder_decoder(family: str) -> EncoderDecoderModel:
    model = shared_model(family)
    assert isinstance(model, EncoderDecoderModel)
    return model


@each_family
@torch.no_grad()
def test_logits_equal_those_of_the_network(family: str) -> None:
    model = encoder_decoder(family)
    ids, mask = laid_out([[*model.prompt_tokenizer.add_special_tokens(TEXT), *SAID]], "right")
    found = model.compute_logits(model.compute_hidden_states(ids, mask))[
        :, -len(model.prompt_tokenizer.decoder_prompt_ids) - len(SAID) :
    ]
    text = torch.tensor(
        [model.prompt_tokenizer.add_special_tokens(TEXT)[: -len(model.prompt_tokenizer.decoder_prompt_ids)]]
    )
    whole = model.network(
        input_ids=text, decoder_input_ids=torch.tensor([[*model.prompt_tokenizer.decoder_prompt_ids, *SAID]])
    ).logits
    torch.testing.assert_close(found, whole)
    some = torch.tensor([7, 300, 2])
    torch.testing.assert_close(
        model.compute_logits(model.compute_hidden_states(ids, mask), some),
        model.compute_logits(model.compute_hidden_states(ids, mask))[..., some],
    )


@each_family
@torch.no_grad()
def test_hidden_states_before_the_decoder_start_equal_the_encoder_output(family: str) -> None:
    model = encoder_decoder(family)
    ids, mask = laid_out([[*TEXT, DECODER_START, *SAID], TEXT], "left")
    text = torch.tensor([TEXT])
    expected = model.network.get_encoder()(input_ids=text).last_hidden_state[0]
    both = model.compute_hidden_states(ids, mask)
    torch.testing.assert_close(both[0, : len(TEXT)], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(both[1, -len(TEXT) :], expected, atol=1e-5, rtol=0)


def test_a_forced_bos_token_follows_the_decoder_start_token() -> None:
    """Some mBART models force the token of the target language."""
    network = AutoModelForSeq2SeqLM.from_config(ENCODER_DECODER_CONFIGS["mbart"])
    network.generation_config.forced_bos_token_id = 17
    model = freeze_network(network, tiny_tokenizer(eos=True), "translator")
    assert isinstance(model, EncoderDecoderModel)
    assert model.prompt_tokenizer.decoder_prompt_ids == [1, 17]


@each_family
def test_a_prefix_covers_encoder_decoder_and_cross_attention_layers(family: str) -> None:
    model = encoder_decoder(family)
    assert model.shape.kind is ModelKind.ENCODER_DECODER
    assert model.shape.num_layers == ENCODER_LAYERS + 2 * DECODER_LAYERS
    assert model.compute_kv(torch.zeros(5, model.shape.embedding_size)).shape == model.shape.get_prefix_shape(5)


def keys_of_cross_attention(network: Any, layer: int, states: Tensor) -> Tensor:
    if hasattr(network, "model"):
        keys: Tensor = network.model.decoder.layers[layer].encoder_attn.k_proj(states)
    else:
        keys = network.decoder.block[layer].layer[1].EncDecAttention.k(states)
    return keys


@each_family
@torch.no_grad()
def test_a_prefix_computed_from_text_equals_the_keys_and_values_of_the_text(family: str) -> None:
    model = encoder_decoder(family)
    text = torch.tensor([TEXT])
    found = model.compute_kv(model.embed_tokens(text)[0])
    torch.testing.assert_close(
        model.compute_first_layer_values(text[0])[0],
        model.compute_kv(model.embed_tokens(text[:, :1])[0])[0, 1].flatten(),
    )
    encoded = model.network.get_encoder()(input_ids=text).last_hidden_state
    said = torch.tensor([[*model.prompt_tokenizer.decoder_prompt_ids, *TEXT]])
    past = model.network(encoder_outputs=(encoded,), decoder_input_ids=said, use_cache=True).past_key_values
    for layer in range(DECODER_LAYERS):
        own, cross = past.self_attention_cache.layers[layer], past.cross_attention_cache.layers[layer]
        kept = own.keys[0, :, len(model.prompt_tokenizer.decoder_prompt_ids) :]
        torch.testing.assert_close(found[ENCODER_LAYERS + layer, 0], kept, atol=1e-5, rtol=0)
        at = ENCODER_LAYERS + DECODER_LAYERS + layer
        torch.testing.assert_close(found[at, 1], cross.values[0], atol=1e-5, rtol=0)
        flat = keys_of_cross_attention(model.network, layer, encoded)[0]
        torch.testing.assert_close(found[at, 0].transpose(0, 1).flatten(1), flat, atol=1e-5, rtol=0)


@each_family
@torch.no_grad()
def test_a_prefix_that_repeats_existing_keys_and_values_does_not_change_the_output(family: str) -> None:
    """Repeated keys share their attention weight, so a prefix without a distance does not change the output."""
    model = tiny_model(family)
    assert isinstance(model, EncoderDecoderModel)
    for name, parameter in model.network.named_parameters():
        if "relative_attention_bias" in name:
            parameter.zero_()
    ids, mask = laid_out([[*TEXT, DECODER_START]], "right")
    whole = model.compute_kv(model.embed_tokens(torch.tensor([TEXT]))[0])
    alone = model.network(
        input_ids=torch.tensor([TEXT]), decoder_input_ids=torch.tensor([model.prompt_tokenizer.decoder_prompt_ids[:1]])
    )
    start = alone.past_key_values.self_attention_cache.layers
    for layer in range(DECODER_LAYERS):
        again = torch.stack([start[layer].keys[0], start[layer].values[0]])
        whole[ENCODER_LAYERS + layer] = again.expand(-1, -1, len(TEXT), -1)
    torch.testing.assert_close(
        model.compute_hidden_states(ids, mask, KVPrefix(whole)),
        model.compute_hidden_states(ids, mask),
        atol=1e-5,
        rtol=0,
    )


@each_family
@pytest.mark.parametrize("part", [slice(0, 2), slice(2, 5), slice(5, 8)], ids=["encoder", "decoder", "cross"])
@torch.no_grad()
def test_every_part_of_a_prefix_changes_the_decoder_and_only_the_encoder_part_the_encoder(
    family: str, part: slice
) -> None:
    model = encoder_decoder(family)
    prefix, other = random_prefix(model, 3, 0), random_prefix(model, 3, 1)
    changed = prefix.tensor.clone()
    changed[part] = other.tensor[part]
    ids, mask = laid_out([[*TEXT, DECODER_START, *SAID]], "right")
    before, after = (model.compute_hidden_states(ids, mask, prefix.with_tensor(t))[0] for t in (prefix.tensor, changed))
    text, answer = slice(0, len(TEXT)), slice(len(TEXT), None)
    assert torch.equal(before[text], after[text]) == (part.start > 0)
    assert (before[answer] - after[answer]).abs().max() > 1e-2


@each_family
def test_gradients_reach_the_prompt_and_no_weight(family: str) -> None:
    model = encoder_decoder(family)
    for payload in (random_prefix(model, 3, 0), random_embeddings(model, 3, 0)):
        leaf = payload.tensor.clone().requires_grad_()
        rows = [payload.apply_to_prompt([*row, DECODER_START, *SAID]) for row in (TEXT, [31, 8])]
        ids, mask = laid_out(rows, "right")
        model.compute_logits(
            model.compute_hidden_states(ids, mask, payload.with_tensor(leaf))
        ).square().mean().backward()
        assert leaf.grad is not None
        assert bool((leaf.grad.flatten(1).abs().amax(dim=1) > 0).all())
        if isinstance(payload, KVPrefix):
            assert bool(
                (leaf.grad.flatten(3).abs().amax(dim=3) > 0).all()
            )  # keys and values of every attention and head
    assert not any(p.grad is not None for p in model.network.parameters())


@each_family
def test_an_encoder_decoder_loads_from_a_folder(family: str, tmp_path: Path) -> None:
    model = encoder_decoder(family)
    model.network.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), device="cpu")
    assert isinstance(loaded, EncoderDecoderModel)
    assert loaded.fingerprint == model.fingerprint
    assert (loaded.prompt_tokenizer.decoder_prompt_ids, loaded.shape) == (
        model.prompt_tokenizer.decoder_prompt_ids,
        model.shape,
    )
    ids, mask = laid_out([as_row(model, TEXT)], "right")
    assert torch.equal(loaded.compute_hidden_states(ids, mask), model.compute_hidden_states(ids, mask))


@each_family
@torch.no_grad()
def test_logits_are_finite_in_bfloat16(family: str) -> None:
    model = freeze_network(
        copy.deepcopy(shared_model(family).network).bfloat16(), shared_model(family).tokenizer, "half"
    )
    for payload in (random_prefix(model, 3, 0), random_embeddings(model, 3, 0)):
        ids, mask = laid_out([payload.apply_to_prompt([*TEXT, DECODER_START, *SAID])], "right")
        assert bool(model.compute_logits(model.compute_hidden_states(ids, mask, payload)).isfinite().all())


@pytest.mark.parametrize(
    ("config", "window"), [(T5Config(), 512), (T5Config(n_positions=1024), 1024), (BartConfig(), 1024)]
)
def test_max_positions_are_read_from_the_configuration(config: PreTrainedConfig, window: int) -> None:
    from softprompt.model.family import resolve_family

    assert resolve_family(config).get_max_positions(config) == window


def test_placement_after_text_is_rejected() -> None:
    model = shared_model("bart")
    with pytest.raises(
        SettingError, match="does not support `placement` after-text: choose before, after-bos, in-template"
    ):
        build_prompt(PromptOptions("prompt", 3, placement=Placement.AFTER_TEXT), model, "a film")


def test_soft_prompt_model_rejects_models_that_are_not_causal() -> None:
    with pytest.raises(SettingError, match="is not a causal model"):
        SoftPromptModel.from_model(shared_model("t5"), PromptOptions("prompt", 3))


def test_too_many_virtual_tokens_for_the_decoder_window_are_rejected() -> None:
    with pytest.raises(SettingError, match="63 virtual tokens do not fit after the decoder's start"):
        build_prompt(PromptOptions("prefix", 63), shared_model("bart"), "a film")


def made(config: PreTrainedConfig) -> FrozenModel:
    return freeze_network(AutoModelForSeq2SeqLM.from_config(config), tiny_tokenizer(eos=True), "odd")


def test_a_configuration_without_a_decoder_start_token_is_rejected() -> None:
    config = copy.deepcopy(ENCODER_DECODER_CONFIGS["mbart"])
    config.decoder_start_token_id = None
    with pytest.raises(ModelNotSupported, match="does not say what its decoder begins with"):
        made(config)


def test_different_head_counts_in_encoder_and_decoder_are_rejected() -> None:
    config = copy.deepcopy(ENCODER_DECODER_CONFIGS["bart"])
    config.decoder_attention_heads = 2
    with pytest.raises(ModelNotSupported, match="the heads of odd are not the same"):
        made(config)
