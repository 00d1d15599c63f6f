"""A preempted sequence continues as if it had not been interrupted, whatever its output state."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.engine.sequence import EngineSequence
from softprompt.model import FrozenModel, Payload, PromptEmbeddings
from softprompt.sampling.grammar import GuidanceCompiler
from tests.strategies import random_embeddings
from tests.tiny import shared_model

TEXT = tuple(range(5, 30))
LENGTH = 10

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "seed": 7, "top_p": 0.9},
    "penalties": {"temperature": 1.0, "presence_penalty": 1.0, "frequency_penalty": 0.5, "repetition_penalty": 1.3},
    "biased": {"logit_bias": {7: 3.0, 9: -5.0}},
    "stop strings": {"stop": ["zzz", "\x00\x01"]},
    "logprobs": {"logprobs": 5},
}


@pytest.fixture
def model() -> FrozenModel:
    return shared_model("llama")


def run_with_preemption(
    model: FrozenModel,
    sampling: SamplingParams,
    payload: Payload | None,
    preemption_step: int | None,
    prompt: str | None,
) -> tuple[list[TokenOutput], EngineSequence]:
    """Return the outputs of a sequence, which is preempted for another tenant's request at a given step."""
    engine, outputs = Engine(model, max_num_seqs=2, max_model_len=96, max_num_batched_tokens=8), list[TokenOutput]()
    token_ids = tuple(range(-payload.num_positions, 0)) + TEXT if isinstance(payload, PromptEmbeddings) else TEXT
    longer = engine.add_request(
        EngineRequest(TEXT * 2, SamplingParams(30, ignore_eos=True), "much"), None, lambda _: None
    )
    assert longer is not None
    while not longer.is_decoding:  # has more computed tokens, so that the other one is preempted
        engine.step()
    sequence = engine.add_request(
        EngineRequest(token_ids, sampling, "much", prompt_digest=prompt), payload, outputs.append
    )
    assert sequence is not None
    steps = 0
    while not outputs or outputs[-1].finish_reason is None:
        if steps == preemption_step:
            engine.add_request(
                EngineRequest((5, 9), SamplingParams(3, ignore_eos=True), "little"), None, lambda _: None
            )
        engine.step()
        steps += 1
    return outputs, sequence


def check_unchanged(
    model: FrozenModel,
    sampling: SamplingParams,
    payload: Payload | None = None,
    prompt: str | None = None,
    step: int = 7,
) -> None:
    undisturbed_outputs, undisturbed = run_with_preemption(model, sampling, payload, None, prompt)
    interrupted_outputs, interrupted = run_with_preemption(model, sampling, payload, step, prompt)
    assert (undisturbed.num_preemptions, interrupted.num_preemptions > 0) == (0, True)
    assert [(each.token_id, each.text, each.finish_reason) for each in interrupted_outputs] == [
        (each.token_id, each.text, each.finish_reason) for each in undisturbed_outputs
    ]
    assert interrupted.num_cached_tokens == undisturbed.num_cached_tokens
    for output, other in zip(interrupted_outputs, undisturbed_outputs, strict=True):
        assert output.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [token for token, _ in output.top_logprobs] == [token for token, _ in other.top_logprobs]


@pytest.mark.parametrize("name", SAMPLINGS)
def test_preemption_does_not_change_the_response(model: FrozenModel, name: str) -> None:
    check_unchanged(model, SamplingParams(LENGTH, ignore_eos=True, **SAMPLINGS[name]))


@pytest.mark.parametrize("step", [1, 3, 9])
def test_preemption_at_any_step_does_not_change_the_response(model: FrozenModel, step: int) -> None:
    """During prefill, at the first token, and later."""
    check_unchanged(model, SamplingParams(LENGTH, ignore_eos=True), step=step)


@pytest.mark.parametrize("prompt", [None, "hash"])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_preemption_with_a_prompt_does_not_change_the_response(
    model: FrozenModel, is_compiled: bool, prompt: str | None
) -> None:
    payload: Payload = random_embeddings(model, 3, 0)
    if is_compiled:
        payload = model.compile_payload(payload)
    check_unchanged(model, SamplingParams(LENGTH, ignore_eos=True), payload, prompt)


def test_preemption_with_a_grammar_does_not_change_the_response(model: FrozenModel) -> None:
    compiler = GuidanceCompiler(model.tokenizer, model.shape.vocab_size, model.eos_token_ids)  # type: ignore[arg-type]
    schema = {"type": "array", "items": {"enum": ["good", "bad"]}, "minItems": 20}
    check_unchanged(model, SamplingParams(LENGTH, grammar=compiler.compile_json_schema(schema)))


def test_a_preempted_sequence_can_be_cancelled(model: FrozenModel) -> None:
    engine, outputs = Engine(model, max_num_seqs=1, max_model_len=128), list[TokenOutput]()
    sequence = engine.add_request(
        EngineRequest(TEXT, SamplingParams(100, ignore_eos=True), "much"), None, outputs.append
    )
    assert sequence is not None
    for _ in range(70):
        engine.step()
    other = engine.add_request(
        EngineRequest(TEXT, SamplingParams(100, ignore_eos=True), "little"), None, lambda _: None
    )
    engine.step()
    assert other is not None
    assert (sequence.slot, other.slot) == (-1, 0)
    engine.cancel_request(sequence)
    assert outputs[-1].finish_reason is not None
    engine.cancel_request(other)
    assert engine.is_idle
