"""Law 9: streamed pieces join to the whole text; greedy engine output equals transformers' greedy output."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine import Engine, EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.evaluation.text_generation import decode_steps, generate_texts, stream_text
from softprompt.model import FrozenModel, Payload
from softprompt.tasks import EncodedExample
from tests.laws.few import few
from tests.laws.together import drawn_engine
from tests.strategies import payloads
from tests.tiny import ending_at, shared_model

#: Families whose attention the engine can replace.
SERVED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox", "opt")


@dataclass
class Heard:
    """Streamed response."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""

    def __call__(self, written: TokenOutput) -> None:
        self.tokens.append(written.token_id if written.token_id is not None else -1)
        self.text += written.text


def alone(model: FrozenModel, payload: Payload | None, text: list[int], count: int) -> list[int]:
    sampling = [SamplingParams(max_new_tokens=count)]
    return tokens_of([outputs[0] for outputs in decode_steps(model, [EncodedExample(text)], [payload], sampling)])


def asked(payload: Payload | None, text: list[int], count: int, tenant: str) -> EngineRequest:
    ids = text if payload is None else payload.apply_to_prompt(text)
    return EngineRequest(tuple(ids), SamplingParams(max_new_tokens=count), tenant=tenant)


@pytest.mark.parametrize("family", SERVED)
@given(data=st.data())
@few
@torch.no_grad()
def test_a_greedy_response_among_others_equals_the_response_alone(family: str, data: st.DataObject) -> None:
    """Whichever other sequences join and leave, with any number of slots, and any chunks of prefill."""
    model = shared_model(family)
    texts = data.draw(st.lists(st.lists(st.integers(3, 383), min_size=1, max_size=9), min_size=1, max_size=7))
    prompts = [data.draw(payloads(model, family) | st.none()) for _ in texts]
    compiled = [None if prompt is None else model.compile_payload(prompt) for prompt in prompts]
    counts = [data.draw(st.integers(1, 5)) for _ in texts]
    engine = drawn_engine(data, model)
    heard = [Heard() for _ in texts]
    for i, (text, payload, count) in enumerate(zip(texts, compiled, counts, strict=True)):
        engine.add_request(
            asked(payload, model.prompt_tokenizer.add_special_tokens(text), count, tenant=str(i % 3)), payload, heard[i]
        )
        for _ in range(data.draw(st.integers(0, 2))):
            engine.step()
    while not engine.is_idle:
        engine.step()
    for text, payload, count, each in zip(texts, compiled, counts, heard, strict=True):
        assert each.tokens == alone(model, payload, model.prompt_tokenizer.add_special_tokens(text), count)
        expected = [token for token in each.tokens if token not in model.eos_token_ids]
        assert each.text == model.tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize("family", SERVED)
def test_a_greedy_response_equals_that_of_transformers(family: str) -> None:
    model, heard = shared_model(family), Heard()
    engine = Engine(model, max_num_seqs=2, max_model_len=60)
    text = model.prompt_tokenizer.add_special_tokens([5, 9, 77, 31])
    expected = model.network.generate(
        torch.tensor([text]), max_new_tokens=6, do_sample=False, eos_token_id=model.eos_token_id
    )
    engine.add_request(asked(None, text, 6, ""), None, heard)
    while not engine.is_idle:
        engine.step()
    assert heard.tokens == expected[0, len(text) :].tolist()


TEXT = [5, 9, 77, 31]


def run(model: FrozenModel, *samplings: SamplingParams) -> list[list[TokenOutput]]:
    """Run sequences with one text in one engine, all at once; return their responses."""
    engine, told = Engine(model, max_num_seqs=4, max_model_len=60), [list[TokenOutput]() for _ in samplings]
    for sampling, each in zip(samplings, told, strict=True):
        engine.add_request(
            EngineRequest(tuple(model.prompt_tokenizer.add_special_tokens(TEXT)), sampling), None, each.append
        )
    while not engine.is_idle:
        engine.step()
    return told


def tokens_of(told: list[TokenOutput]) -> list[int]:
    return [written.token_id for written in told if written.token_id is not None]


def with_end_tokens(family: str) -> tuple[FrozenModel, list[int]]:
    """Make a model with two more EOS tokens, one of which a greedy response has; also return the longer response."""
    (told,) = run(shared_model(family), SamplingParams(9, ignore_eos=True))
    past = tokens_of(told)
    return ending_at(family, 383, past[4]), past


@pytest.mark.parametrize("family", SERVED)
@torch.no_grad()
def test_any_of_several_eos_tokens_ends_a_response_where_transformers_ends(family: str) -> None:
    """With sampled sequences, log-probabilities, `ignore_eos`, and in evaluation."""
    model, past = with_end_tokens(family)
    text = model.prompt_tokenizer.add_special_tokens(TEXT)
    whole = model.network.generate(torch.tensor([text]), max_new_tokens=9, do_sample=False)[0, len(text) :].tolist()
    assert whole == past[: past.index(past[4]) + 1]
    greedy, logprobs, drawn, regardless = run(
        model,
        SamplingParams(9),
        SamplingParams(9, logprobs=3),
        SamplingParams(9, 1.0, seed=4),
        SamplingParams(9, ignore_eos=True),
    )
    assert tokens_of(greedy) == tokens_of(logprobs) == whole == alone(model, None, text, 9)
    assert (greedy[-1].finish_reason, logprobs[-1].logprob is None) == (FinishReason.STOP, False)
    assert tokens_of(regardless) == past
    assert not set(tokens_of(drawn)[:-1]) & set(model.eos_token_ids)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.no_grad()
def test_eos_tokens_are_not_part_of_the_text_of_a_response(family: str) -> None:
    """The tokenizer would decode the end token as a word."""
    model, past = with_end_tokens(family)
    expected = model.tokenizer.decode(past[: past.index(past[4])], skip_special_tokens=True)
    (told,) = run(model, SamplingParams(9))
    assert "".join(written.text for written in told) == expected
    example = EncodedExample(model.prompt_tokenizer.add_special_tokens(TEXT))
    assert "".join(stream_text(model, example, None, SamplingParams(9))) == expected
    assert generate_texts(model, [example] * 2, [None] * 2, SamplingParams(9)) == [expected.strip()] * 2


def test_a_model_without_an_eos_token_generates_up_to_max_new_tokens() -> None:
    model = copy.copy(shared_model("llama"))
    model.eos_token_ids = ()
    (told,) = run(model, SamplingParams(9))
    assert (len(told), told[-1].finish_reason) == (9, FinishReason.LENGTH)
    assert tokens_of(told) == alone(model, None, model.prompt_tokenizer.add_special_tokens(TEXT), 9)
