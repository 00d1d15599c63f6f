"""Text generation: greedy, sampled, streamed, and in mixed batches."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.errors import SettingError
from softprompt.evaluation import SamplingParams, generate_texts, stream_text
from softprompt.evaluation.text_generation import decode_steps
from softprompt.model import EncoderDecoderModel, FrozenModel, Payload, Placement
from softprompt.model.prompt_tokenizer import DECODER_START
from softprompt.sampling.grammar import GuidanceCompiler
from softprompt.tasks import EncodedExample
from tests.strategies import payloads, random_embeddings, random_prefix, rows, writing_families
from tests.tiny import ENCODER_DECODER_FAMILIES, FAMILIES, shared_model


@torch.no_grad()
def generate_without_cache(model: FrozenModel, example: EncodedExample, payload: Payload | None, count: int) -> str:
    """Generate greedily, and run the whole sequence again for each token."""
    ids = example.prompt_ids if payload is None else payload.apply_to_prompt(example.prompt_ids)
    generated_ids: list[int] = []
    for _ in range(count):
        sequence = torch.tensor([[*ids, *generated_ids]])
        token_id = int(
            model.compute_logits(
                model.compute_hidden_states(sequence, torch.ones_like(sequence, dtype=torch.bool), payload)[0, -1]
            ).argmax()
        )
        if token_id == model.eos_token_id:
            break
        generated_ids.append(token_id)
    return str(model.tokenizer.decode(generated_ids, skip_special_tokens=True)).strip()


def build_example(model: FrozenModel, ids: list[int]) -> EncodedExample:
    """Build an example to continue; an encoder-decoder needs the decoder's start tokens."""
    return EncodedExample(
        model.prompt_tokenizer.add_special_tokens(ids) if isinstance(model, EncoderDecoderModel) else ids
    )


@given(data=st.data(), family=writing_families, sequences=rows)
def test_a_mixed_batch_generates_what_each_example_generates_alone(
    data: st.DataObject, family: str, sequences: list[list[int]]
) -> None:
    model = shared_model(family)
    batch = [build_example(model, sequence) for sequence in sequences]
    example_payloads = [
        data.draw(st.none() | payloads(model, family).filter(lambda p: p.placement is not Placement.AFTER_BOS))
        for _ in batch
    ]
    texts = generate_texts(model, batch, example_payloads, SamplingParams(max_new_tokens=5), batch_size=3)
    assert texts == [
        generate_without_cache(model, example, payload, 5)
        for example, payload in zip(batch, example_payloads, strict=True)
    ]


@pytest.mark.parametrize("family", ENCODER_DECODER_FAMILIES)
@torch.no_grad()
def test_an_encoder_decoder_generates_the_same_as_transformers(family: str) -> None:
    model = shared_model(family)
    for seed in range(8):
        example = build_example(model, [5 + seed, 9, 77, 300 - seed])
        text = torch.tensor([example.prompt_ids[: example.prompt_ids.index(DECODER_START)]])
        sequence = model.network.generate(
            text,
            attention_mask=torch.ones_like(text),
            max_new_tokens=9,
            do_sample=False,
            forced_bos_token_id=model.prompt_tokenizer.bos_token_id,
            forced_eos_token_id=None,
            use_cache=False,  # with one, transformers takes the decoder for as deep as the encoder
        )
        num_decoder_start_ids = len(example.prompt_ids) - text.shape[1]
        expected = model.tokenizer.decode(sequence[0, num_decoder_start_ids:], skip_special_tokens=True).strip()
        texts = generate_texts(model, [example], [None], SamplingParams(max_new_tokens=10 - num_decoder_start_ids))
        assert texts == [expected]


@pytest.mark.parametrize("family", FAMILIES + ENCODER_DECODER_FAMILIES)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_streamed_chunks_join_to_the_whole_text(family: str, temperature: float) -> None:
    """First half of law 9 for this loop: byte-level tokens often end inside a character."""
    model = shared_model(family)
    for seed in range(5):
        sampling = SamplingParams(max_new_tokens=20, temperature=temperature, seed=seed)
        example, payload = build_example(model, [5 + seed, 9, 77]), random_prefix(model, 3, seed)
        chunks = list(stream_text(model, example, payload, sampling))
        assert "".join(chunks).strip() == generate_texts(model, [example], [payload], sampling)[0]
        assert all(not chunk.endswith("\ufffd") for chunk in chunks[:-1])


def test_sampling_is_reproducible_and_depends_on_the_seed() -> None:
    model = shared_model("llama")
    example = EncodedExample([5, 9, 77])

    def generated_ids(seed: int) -> str:
        return generate_texts(model, [example], [None], SamplingParams(max_new_tokens=12, temperature=2.0, seed=seed))[
            0
        ]

    assert generated_ids(1) == generated_ids(1)
    assert len({generated_ids(seed) for seed in range(6)}) > 1


@pytest.mark.parametrize("filters", [{"top_k": 1}, {"top_p": 1e-6}])
def test_sampling_from_one_token_is_greedy(filters: dict[str, float]) -> None:
    model = shared_model("llama")
    example = EncodedExample([5, 9, 77])
    sampled = generate_texts(model, [example], [None], SamplingParams(max_new_tokens=8, temperature=1.0, **filters))
    assert sampled == generate_texts(model, [example], [None], SamplingParams(max_new_tokens=8))


@pytest.mark.parametrize("options", [{}, {"top_p": 1e-320}, {"top_k": 5}])
@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-46, 1e-40, 1e-5])
def test_sampling_at_the_lowest_temperatures_is_greedy(temperature: float, options: dict[str, float]) -> None:
    """Logits divided by such a temperature would be infinite."""
    model, example = shared_model("llama"), EncodedExample([5, 9, 77])
    sampled = generate_texts(
        model, [example], [None], SamplingParams(max_new_tokens=8, temperature=temperature, **options)
    )
    assert sampled == generate_texts(model, [example], [None], SamplingParams(max_new_tokens=8))


def test_an_ended_response_is_not_continued() -> None:
    model = shared_model("llama")
    texts = generate_texts(
        model,
        [EncodedExample([i, 9, 77]) for i in range(5, 25)],
        [random_embeddings_prefix(model)] * 20,
        SamplingParams(max_new_tokens=30),
    )
    assert all("</s>" not in text for text in texts)
    assert len({len(text) for text in texts}) > 1


def random_embeddings_prefix(model: FrozenModel) -> Payload:
    with torch.no_grad():
        return model.compile_payload(random_embeddings(model, 3, 0))


def generate(model: FrozenModel, sampling: SamplingParams, batch_size: int = 16) -> list[str]:
    examples = [EncodedExample([5 + i, 9, *range(20, 77 - 9 * i)]) for i in range(5)]
    return generate_texts(model, examples, [None] * 5, sampling, batch_size=batch_size)  # type: ignore[arg-type]


def test_a_sampled_response_does_not_depend_on_its_batch() -> None:
    model, sampling = shared_model("llama"), SamplingParams(max_new_tokens=12, temperature=1.5, seed=3)
    texts = generate(model, sampling)
    assert texts == generate(model, sampling, batch_size=1) == generate(model, sampling, batch_size=2)
    assert len(set(texts)) == 5


def test_equal_examples_have_different_responses() -> None:
    sampling = SamplingParams(max_new_tokens=12, temperature=1.5)
    texts = generate_texts(shared_model("llama"), [EncodedExample([5, 9])] * 3, [None] * 3, sampling)  # type: ignore[arg-type]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("family", ["llama", *ENCODER_DECODER_FAMILIES])
def test_presence_penalty_and_logit_bias_change_the_tokens(family: str) -> None:
    model = shared_model(family)
    example, fields = build_example(model, [5, 9, 77]), {"max_new_tokens": 9, "ignore_eos": True}
    banned: dict[int, float] = {}
    for presence_penalty in (0.0, 1e9):
        sampling = SamplingParams(**fields, presence_penalty=presence_penalty, repetition_penalty=1.1)  # type: ignore[arg-type]
        steps = decode_steps(model, [example], [None], [sampling])  # type: ignore[arg-type]
        token_ids = [outputs[0].token_id for outputs in steps]
        assert (len(set(token_ids)) == 9) or not presence_penalty
        banned[token_ids[0]] = -1e9  # type: ignore[index]
        others = decode_steps(model, [example], [None], [replace(sampling, logit_bias=banned)])  # type: ignore[arg-type]
        assert next(iter(others))[0].token_id not in banned


def test_a_response_ends_before_a_stop_string() -> None:
    model = shared_model("llama")
    whole = generate(model, SamplingParams(max_new_tokens=20, ignore_eos=True))
    stop = whole[0][3:5]
    stopped = generate(model, SamplingParams(max_new_tokens=20, ignore_eos=True, stop=[stop]))
    assert stopped == [text.split(stop)[0].strip() for text in whole]
    example = EncodedExample([5, 9, *range(20, 77)])
    chunks = stream_text(model, example, None, SamplingParams(max_new_tokens=20, ignore_eos=True, stop=[stop]))  # type: ignore[arg-type]
    assert "".join(chunks).strip() == stopped[0]


def test_responses_match_a_grammar() -> None:
    model = shared_model("llama")
    compiler = GuidanceCompiler(model.tokenizer, model.shape.vocab_size, model.eos_token_ids)  # type: ignore[arg-type]
    sampling = SamplingParams(
        max_new_tokens=40, temperature=1.5, grammar=compiler.compile_regex("(good|bad) [0-9]{1,3}")
    )
    texts = generate(model, sampling)
    assert all(re.fullmatch("(good|bad) [0-9]{1,3}", text) for text in texts), texts
    assert len(set(texts)) > 1


def test_requests_for_log_probabilities_are_rejected() -> None:
    model = shared_model("llama")
    with pytest.raises(SettingError, match="`logprobs=3`: only text is returned here"):
        generate(model, SamplingParams(logprobs=3))
    with pytest.raises(SettingError, match="`logprobs=0`: only text is returned here"):
        stream_text(model, EncodedExample([5]), None, SamplingParams(logprobs=0))  # type: ignore[arg-type]


def test_a_logit_bias_for_an_unknown_token_id_is_rejected() -> None:
    with pytest.raises(SettingError, match="`logit_bias`: 384 is not a token id"):
        generate(shared_model("llama"), SamplingParams(logit_bias={384: 1.0}))
