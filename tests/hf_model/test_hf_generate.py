"""`SoftPromptModel.generate` equals transformers' `generate` after the prompt's KV prefix, with any options."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxTimeCriteria,
    MinLengthLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
)

from softprompt.errors import SettingError, SoftPromptError
from softprompt.hf_model import SoftPromptModel
from softprompt.model import CausalModel, KVPrefix
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask
from tests.laws.few import few
from tests.strategies import laid_out, random_prefix
from tests.tiny import FAMILIES, ending_at, shared_model

TEXT = [5, 9, 77, 31]
IDS = torch.tensor([TEXT])


def wrapped(frozen: CausalModel, *names: str) -> SoftPromptModel:
    """Make a model with random prompts of two, three, … virtual tokens; the last one is active."""
    model = SoftPromptModel(frozen)
    for number, name in enumerate(names or ("prompt",)):
        payload = random_prefix(frozen, 2 + number, number)
        saved = SavedPrompt.from_payload(frozen, payload, GenerationTask(), method={"name": "x"}, trained_parameters=1)
        model.add_prompt(name, saved)
    return model


def llama() -> CausalModel:
    frozen = shared_model("llama")
    assert isinstance(frozen, CausalModel)
    return frozen


def theirs(model: SoftPromptModel, name: str | None = None, rows: int = 1, **options: Any) -> Any:
    """Generate with the plain network, with the compiled prefix as its past."""
    frozen = model.frozen_model
    prefix = model._loaded_prompts[name or model.active_prompt or ""]
    assert isinstance(prefix, KVPrefix)
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(prefix.tensor):
        cache.update(keys.expand(rows, -1, -1, -1).clone(), values.expand(rows, -1, -1, -1).clone(), layer)
    mask = torch.ones(1, prefix.num_positions + len(TEXT), dtype=torch.long)
    options = {"max_new_tokens": 8, "eos_token_id": list(frozen.eos_token_ids), **options}
    return frozen.network.generate(IDS, past_key_values=cache, attention_mask=mask, **options)


ALIKE: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 0.9, "top_p": 0.8, "top_k": 40},
    "min_p": {"do_sample": True, "min_p": 0.05},
    "beams": {"num_beams": 3, "rows": 3},
    "several beams": {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5, "rows": 4},
    "beams that draw": {"num_beams": 2, "do_sample": True, "rows": 2},
    "several": {"do_sample": True, "num_return_sequences": 4, "rows": 4},
    "penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "max_length": {"max_length": 9, "max_new_tokens": None},
    "min_new_tokens": {"min_new_tokens": 6},
    "bad words": {"bad_words_ids": [[7], [8, 9]], "suppress_tokens": [12]},
    "no cache": {"use_cache": True, "renormalize_logits": True},
    "another end": {"eos_token_id": [200, 201, 202], "pad_token_id": 3},
    "no end": {"eos_token_id": None},
    "processors": {"logits_processor": LogitsProcessorList([MinLengthLogitsProcessor(8, 1)])},
    "criteria": {"stopping_criteria": StoppingCriteriaList([MaxTimeCriteria(1e9)])},
}


@pytest.mark.parametrize("name", ALIKE)
@torch.no_grad()
def test_generate_with_any_option_equals_transformers_after_the_prefix(name: str) -> None:
    model = wrapped(llama())
    asked = dict(ALIKE[name])
    rows = asked.pop("rows", 1)
    torch.manual_seed(0)
    expected = theirs(model, rows=rows, **asked)
    torch.manual_seed(0)
    assert model.generate(IDS, **{"max_new_tokens": 8, **asked}).tolist() == expected.tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("more", [{}, {"num_beams": 2, "rows": 2}])
@torch.no_grad()
def test_generate_equals_the_network_with_the_compiled_prefix(family: str, more: dict[str, int]) -> None:
    frozen = shared_model(family)
    assert isinstance(frozen, CausalModel)
    model = wrapped(frozen)
    options = dict(more)
    rows = options.pop("rows", 1)
    alone = SoftPromptModel(frozen).generate(IDS, max_new_tokens=6, **options)
    bare = frozen.network.generate(IDS, max_new_tokens=6, do_sample=False, eos_token_id=[1], **options)
    assert alone.tolist() == bare.tolist()
    if frozen.shape.takes_cache:
        found = model.generate(IDS, max_new_tokens=6, **options)
        assert found.tolist() == theirs(model, rows=rows, max_new_tokens=6, **options).tolist()


@given(
    texts=st.lists(st.lists(st.integers(3, 383), min_size=1, max_size=8), min_size=1, max_size=4),
    side=st.sampled_from(["left", "right"]),
    extra=st.integers(0, 3),
    options=st.sampled_from(
        [
            {},
            {"num_beams": 3},
            {"num_beams": 2, "num_return_sequences": 2},
            {"repetition_penalty": 1.7},
            {"no_repeat_ngram_size": 1, "repetition_penalty": 0.6},
            {"no_repeat_ngram_size": 2, "num_beams": 2},
            {"use_cache": False},
        ]
    ),
)
@few
@torch.no_grad()
def test_padding_and_other_sequences_in_the_batch_do_not_change_a_response(
    texts: list[list[int]], side: str, extra: int, options: dict[str, Any]
) -> None:
    """Laws 2 and 3: padding on either side, any other sequences in the batch, each with its own prompt or none."""
    model = wrapped(llama(), "one", "two")
    prompts = [("one", None, "two")[i % 3] for i in range(len(texts))]
    ids, mask = laid_out(texts, side, extra)
    together = model.generate(ids, mask.long(), prompts, max_new_tokens=5, **options)
    several = options.get("num_return_sequences", 1)
    assert torch.equal(together[:, : ids.shape[1]], ids.repeat_interleave(several, dim=0))
    for i, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        alone = model.generate(torch.tensor([text]), prompts=[prompt], max_new_tokens=5, **options)
        for j in range(several):
            found = together[i * several + j, ids.shape[1] :].tolist()
            expected = alone[j, len(text) :].tolist()
            assert found[: len(expected)] == expected
            assert set(found[len(expected) :]) <= {1}


@torch.no_grad()
def test_a_missing_mask_is_inferred_from_the_pad_token() -> None:
    model = wrapped(llama())
    padded = torch.tensor([[*TEXT, 2, 2], [5, 9, 77, 31, 40, 41]])
    found = model.generate(padded, max_new_tokens=4, pad_token_id=2)
    assert found[0, 6:].tolist() == model.generate(IDS, max_new_tokens=4)[0, 4:].tolist()


@torch.no_grad()
def test_every_eos_token_ends_generation() -> None:
    past = wrapped(llama()).generate(IDS, max_new_tokens=9, eos_token_id=None)[0, 4:].tolist()
    frozen = ending_at("llama", past[3], 383)
    assert isinstance(frozen, CausalModel)
    model = wrapped(frozen)
    assert model.generate(IDS, max_new_tokens=9)[0, 4:].tolist() == past[: past.index(past[3]) + 1]
    model.generation_config.eos_token_id = None
    assert model.generate(IDS, max_new_tokens=9)[0, 4:].tolist() == past


@torch.no_grad()
def test_input_ids_inputs_and_embeddings_generate_the_same_tokens() -> None:
    model = wrapped(llama())
    expected = model.generate(IDS, max_new_tokens=5).tolist()
    ones = torch.ones_like(IDS)
    config = GenerationConfig(max_new_tokens=5)
    assert model.generate(input_ids=IDS, attention_mask=ones, max_new_tokens=5).tolist() == expected
    assert model.generate(inputs=IDS, max_new_tokens=5).tolist() == expected
    assert model.generate(IDS, config).tolist() == expected
    assert model.generate(IDS, generation_config=config).tolist() == expected
    embeddings = model.get_input_embeddings()(IDS)
    assert model.generate(inputs_embeds=embeddings, max_new_tokens=5).tolist() == [expected[0][4:]]
    padded = torch.cat([embeddings, torch.randn(1, 2, 24)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    assert model.generate(inputs_embeds=padded, attention_mask=mask, max_new_tokens=5).tolist() == [expected[0][4:]]


@torch.no_grad()
def test_the_prompt_in_training_precedes_generated_text() -> None:
    from softprompt.prompts import PromptOptions

    model = SoftPromptModel.from_model(llama(), PromptOptions("prompt", 4))
    with torch.no_grad():
        next(model.parameters()).normal_()
    assert model.generate(IDS, max_new_tokens=8).tolist() == model.generate(IDS, max_new_tokens=8).tolist()
    first = int(model(IDS).logits[0, -1].argmax())
    assert int(model.generate(IDS, max_new_tokens=1)[0, -1]) == first
    with model.disable_prompt():
        bare = model.frozen_model.network.generate(IDS, max_new_tokens=8, do_sample=False, eos_token_id=[1])
        assert model.generate(IDS, max_new_tokens=8).tolist() == bare.tolist()


@torch.no_grad()
def test_generate_returns_scores_and_cache_like_transformers() -> None:
    model = wrapped(llama())
    asked: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    found, expected = model.generate(IDS, max_new_tokens=5, **asked), theirs(model, max_new_tokens=5, **asked)
    assert found.sequences.tolist() == expected.sequences.tolist()
    for one, other in zip((*found.scores, *found.logits), (*expected.scores, *expected.logits), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    rest = model(found.sequences[:, -1:], past_key_values=found.past_key_values)
    whole = model(found.sequences)
    torch.testing.assert_close(rest.logits[:, -1], whole.logits[:, -1], atol=1e-4, rtol=0)


@torch.no_grad()
def test_streamers_receive_only_the_generated_text(capsys: pytest.CaptureFixture[str]) -> None:
    model = wrapped(llama())
    tokenizer = model.tokenizer
    text = tokenizer.decode(model.generate(IDS, max_new_tokens=6)[0, 4:], skip_special_tokens=True)
    model.generate(IDS, max_new_tokens=6, streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True))
    assert capsys.readouterr().out == text + "\n"
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    thread = threading.Thread(target=model.generate, args=(IDS,), kwargs={"streamer": streamer, "max_new_tokens": 6})
    thread.start()
    assert "".join(streamer) == text
    thread.join()


class Seen(LogitsProcessor, StoppingCriteria):
    """Logits processor and stopping criterion that records its inputs."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.lengths.append(input_ids.shape[1])
        assert input_ids[:, :4].tolist() == [TEXT]
        return scores


@torch.no_grad()
def test_processors_and_criteria_see_no_virtual_tokens() -> None:
    model, seen = wrapped(llama()), Seen()
    model.generate(IDS, max_new_tokens=3, logits_processor=[seen], eos_token_id=None)
    assert seen.lengths == [4, 5, 6]
    assert model.generate(IDS, max_length=6, eos_token_id=None).shape == (1, 6)


@torch.no_grad()
def test_generation_ends_at_a_stop_string() -> None:
    model = wrapped(llama())
    whole = model.generate(IDS, max_new_tokens=8, eos_token_id=None)[0, 4:]
    third = model.tokenizer.decode(whole[2:3])
    found = model.generate(IDS, max_new_tokens=8, eos_token_id=None, stop_strings=[third], tokenizer=model.tokenizer)
    assert found[0, 4:].tolist() == whole[: len(found[0]) - 4].tolist()
    assert third in model.tokenizer.decode(found[0, 4:])
    assert len(found[0]) - 4 <= 3


@torch.no_grad()
def test_a_seed_makes_sampling_reproducible_and_leaves_the_global_generator_unchanged() -> None:
    model = wrapped(llama())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = model.generate(IDS, max_new_tokens=8, temperature=2.0, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, model.generate(IDS, max_new_tokens=8, do_sample=True, temperature=2.0, seed=1))
    others = {tuple(model.generate(IDS, max_new_tokens=8, temperature=2.0, seed=seed)[0].tolist()) for seed in range(5)}
    assert len(others) > 1


@pytest.mark.parametrize("temperature", [0, 0.0, 5e-324, 1e-310, 1e-5])
@pytest.mark.parametrize("more", [{}, {"do_sample": True}])
@torch.no_grad()
def test_temperatures_near_zero_decode_greedily(temperature: float, more: dict[str, bool]) -> None:
    model = wrapped(llama())
    greedy = model.generate(IDS, max_new_tokens=8)
    assert torch.equal(model.generate(IDS, max_new_tokens=8, temperature=temperature, **more), greedy)


@torch.no_grad()
def test_generation_without_a_length_limit_ends_after_128_tokens() -> None:
    frozen = shared_model("gpt_neox")
    assert isinstance(frozen, CausalModel)
    model = SoftPromptModel(frozen)
    assert model.generate(IDS[:, :1], eos_token_id=None, max_length=None).shape == (1, 129)
    model.generation_config.max_new_tokens = 3
    assert model.generate(IDS, eos_token_id=None).shape == (1, 7)


REFUSED: dict[str, dict[str, Any]] = {
    "past_key_values": {"past_key_values": DynamicCache()},
    "cache_implementation": {"cache_implementation": "static"},
    "assistant_model": {"assistant_model": torch.nn.Linear(1, 1)},
    "prompt_lookup_num_tokens": {"prompt_lookup_num_tokens": 3},
    "guidance_scale": {"guidance_scale": 1.5},
    "output_attentions": {"output_attentions": True, "return_dict_in_generate": True},
    "output_hidden_states": {"output_hidden_states": True, "return_dict_in_generate": True},
    "position_ids": {"position_ids": torch.arange(4)[None]},
    "token_type_ids": {"token_type_ids": torch.zeros(1, 4, dtype=torch.long)},
    "prefill_chunk_size": {"prefill_chunk_size": 2},
    "custom_generate": {"custom_generate": "somebody/something"},
    "max_tokens": {"max_tokens": 3},
    "num_beams": {"num_beams": 0},
    "num_return_sequences": {"num_return_sequences": 3},
    "temperature": {"do_sample": True, "temperature": -1.0},
    "streamer": {"streamer": TextStreamer(shared_model("llama").tokenizer), "num_beams": 2},
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_generation_options_raise_setting_error(name: str) -> None:
    with pytest.raises(SettingError, match=rf"(?s)SoftPromptModel\.generate.*{name}"):
        wrapped(llama()).generate(IDS, **{"max_new_tokens": 3, **REFUSED[name]})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "needs exactly one of `input_ids` and `inputs_embeds`"),
        ({"inputs": IDS, "inputs_embeds": torch.zeros(1, 2, 24)}, "needs exactly one of"),
        ({"inputs": IDS[0]}, r"`input_ids` is \(4,\): pass a non-empty tensor \[sequences, tokens\]"),
        ({"inputs": IDS[:, :0]}, r"`input_ids` is \(1, 0\)"),
        ({"inputs_embeds": torch.zeros(2, 24)}, r"`inputs_embeds` is \(2, 24\)"),
        (
            {"inputs": IDS, "attention_mask": torch.ones(1, 5)},
            r"`attention_mask` has shape \(1, 5\), the text \(1, 4\)",
        ),
        ({"inputs": IDS, "prompts": ["nobody"]}, "prompt 'nobody' is not loaded"),
        ({"inputs": IDS, "prompts": ["prompt", "prompt"]}, "2 prompts for 1 sequences"),
    ],
)
def test_invalid_inputs_are_rejected(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SoftPromptError, match=message):
        wrapped(llama()).generate(**asked, max_new_tokens=2)
