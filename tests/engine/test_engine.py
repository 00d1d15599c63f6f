"""Cancellation, deadlines, limits and sampling of the engine. Law 9 tests the responses themselves."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from softprompt.engine import Engine, EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.engine.step_cost_model import StepCostModel
from softprompt.errors import ModelNotSupported, SettingError
from softprompt.model import FrozenModel
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model

TEXT = (5, 9, 77)


@pytest.fixture
def model() -> FrozenModel:
    return shared_model("llama")


@pytest.fixture
def engine(model: FrozenModel) -> Engine:
    return Engine(model, max_num_seqs=3, max_model_len=40, max_num_batched_tokens=8, max_waiting_requests=8)


def generate(engine: Engine, *samplings: SamplingParams) -> list[list[TokenOutput]]:
    outputs: list[list[TokenOutput]] = [[] for _ in samplings]
    for sampling, each in zip(samplings, outputs, strict=True):
        engine.add_request(EngineRequest(TEXT, sampling), None, each.append)
    while not engine.is_idle:
        engine.step()
    return outputs


def get_token_ids(outputs: list[TokenOutput]) -> list[int | None]:
    return [output.token_id for output in outputs]


def test_cancelling_a_request_frees_its_slot_and_affects_no_other(engine: Engine, model: FrozenModel) -> None:
    expected = get_token_ids(generate(engine, SamplingParams(max_new_tokens=8))[0])
    outputs: list[list[TokenOutput]] = [[], [], []]
    running = [
        engine.add_request(EngineRequest(TEXT, SamplingParams(max_new_tokens=8)), None, each.append) for each in outputs
    ]
    engine.step()
    engine.step()
    assert running[0] is not None
    engine.cancel_request(running[0])
    engine.cancel_request(running[0])  # a finished request: no effect
    while not engine.is_idle:
        engine.step()
    assert outputs[0][-1].finish_reason is FinishReason.CANCELLED
    assert [get_token_ids(each) for each in outputs[1:]] == [expected] * 2


def test_an_expired_deadline_ends_running_and_waiting_requests(model: FrozenModel) -> None:
    now = [0.0]
    engine = Engine(model, max_num_seqs=1, max_model_len=40, clock=lambda: now[0])
    running, waiting = [], []
    for outputs in (running, waiting):
        engine.add_request(
            EngineRequest(TEXT, SamplingParams(max_new_tokens=9, ignore_eos=True), deadline=1.0), None, outputs.append
        )
    engine.step()
    now[0] = 1.0
    engine.step()
    assert [each[-1].finish_reason for each in (running, waiting)] == [FinishReason.TIMEOUT] * 2
    assert len(running) == 2
    assert engine.is_idle


def test_a_response_ends_before_a_stop_string(engine: Engine) -> None:
    whole = "".join(output.text for output in generate(engine, SamplingParams(max_new_tokens=12, ignore_eos=True))[0])
    stop = whole[len(whole) // 2 :][:2]
    (outputs,) = generate(engine, SamplingParams(max_new_tokens=12, stop=[stop], ignore_eos=True))
    assert "".join(output.text for output in outputs) == whole[: whole.index(stop)]
    assert outputs[-1].finish_reason is FinishReason.STOP


def test_sampling_with_a_seed_does_not_depend_on_the_batch(engine: Engine) -> None:
    sampled = SamplingParams(max_new_tokens=6, temperature=1.0, seed=3, ignore_eos=True)
    (alone,) = generate(engine, sampled)
    among = generate(
        engine, SamplingParams(max_new_tokens=2), sampled, SamplingParams(max_new_tokens=9, temperature=2.0, seed=1)
    )[1]
    (other,) = generate(engine, SamplingParams(max_new_tokens=6, temperature=1.0, seed=4, ignore_eos=True))
    assert get_token_ids(among) == get_token_ids(alone)
    assert get_token_ids(other) != get_token_ids(alone)


@pytest.mark.parametrize("filters", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_sampling_from_one_token_is_greedy(engine: Engine, filters: dict[str, float]) -> None:
    greedy, sampled = generate(
        engine,
        SamplingParams(max_new_tokens=5),
        SamplingParams(max_new_tokens=5, temperature=1.5, **filters),  # type: ignore[arg-type]
    )
    assert get_token_ids(sampled) == get_token_ids(greedy)


@pytest.mark.parametrize("options", [{}, {"presence_penalty": 0.5}, {"logit_bias": {7: 3.0}}, {"top_p": 1e-320}])
@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-307, 1e-40, 1e-5])
def test_lowest_temperatures_are_greedy(engine: Engine, temperature: float, options: dict[str, Any]) -> None:
    """Logits divided by such a temperature would be infinite, and any token could be drawn."""
    greedy, sampled = generate(
        engine,
        SamplingParams(max_new_tokens=5, **options),
        SamplingParams(max_new_tokens=5, temperature=temperature, **options),
    )
    assert get_token_ids(sampled) == get_token_ids(greedy)


@pytest.mark.parametrize("top_p", [0.0, 5e-324, 1e-320, 1e-40])
@pytest.mark.parametrize("temperature", [0.0, 1e-310, 1.0, 2.0])
def test_smallest_top_p_is_greedy(engine: Engine, temperature: float, top_p: float) -> None:
    greedy, sampled = generate(
        engine, SamplingParams(max_new_tokens=5), SamplingParams(max_new_tokens=5, temperature=temperature, top_p=top_p)
    )
    assert get_token_ids(sampled) == get_token_ids(greedy)


def test_bias_and_presence_penalty_exclude_tokens(engine: Engine) -> None:
    (greedy,) = generate(engine, SamplingParams(max_new_tokens=5, ignore_eos=True))
    first = greedy[0].token_id
    assert first is not None
    (banned,) = generate(engine, SamplingParams(max_new_tokens=5, logit_bias={first: -1e9}, ignore_eos=True))
    assert first not in get_token_ids(banned)
    (once,) = generate(engine, SamplingParams(max_new_tokens=9, presence_penalty=1e9, ignore_eos=True))
    assert len(set(get_token_ids(once))) == 9


def test_repetition_penalty_ignores_virtual_tokens(model: FrozenModel, engine: Engine) -> None:
    """Placeholders are not counted as tokens of the text."""
    outputs: list[TokenOutput] = []
    request = EngineRequest((-1, -2, *TEXT), SamplingParams(max_new_tokens=3, repetition_penalty=1.3))
    engine.add_request(request, random_embeddings(model, 2, 0), outputs.append)
    while not engine.is_idle:
        engine.step()
    assert len(outputs) == 3


def test_logprobs_are_those_of_the_model_before_biases(engine: Engine, model: FrozenModel) -> None:
    """Log-probabilities are computed before biases and sampling."""
    biased = {7: 3.0}
    (outputs,) = generate(engine, SamplingParams(max_new_tokens=3, logprobs=4, logit_bias=biased, ignore_eos=True))
    sequence = list(TEXT)
    for output in outputs:
        with torch.inference_mode():
            logprobs = model.network(torch.tensor([sequence])).logits[0, -1].log_softmax(dim=-1)
        assert output.token_id is not None
        assert output.logprob == pytest.approx(float(logprobs[output.token_id]), abs=1e-4)
        best = [token for token, _ in output.top_logprobs]
        assert best == logprobs.topk(4).indices.tolist()
        sequence.append(output.token_id)
    (none,) = generate(engine, SamplingParams(max_new_tokens=1))
    assert (none[0].logprob, none[0].top_logprobs) == (None, ())


@pytest.mark.parametrize("num_virtual_tokens", [0, 3])
def test_prefix_cache_is_reused_only_by_the_same_tenant_and_prompt(model: FrozenModel, num_virtual_tokens: int) -> None:
    """The response does not change."""
    payload = model.compile_payload(random_embeddings(model, num_virtual_tokens, 0)) if num_virtual_tokens else None
    text = tuple(range(5, 45))
    engine = Engine(model, max_num_seqs=2, max_model_len=80)

    def request_twice(tenant: str = "acme", prompt: str | None = "hash") -> tuple[list[int | None], int]:
        outputs: list[TokenOutput] = []
        request = EngineRequest(
            text, SamplingParams(max_new_tokens=6, ignore_eos=True), tenant=tenant, prompt_digest=prompt
        )
        running = engine.add_request(request, payload, outputs.append)
        assert running is not None
        while not engine.is_idle:
            engine.step()
        return get_token_ids(outputs), running.num_cached_tokens

    first, nothing = request_twice()
    assert nothing == 0
    assert request_twice() == (first, 32)
    assert request_twice(tenant="other") == (first, 0)
    assert request_twice(prompt="another") == (first, 0)
    assert request_twice(prompt=None) == (first, 0)
    assert request_twice(prompt=None) == (first, 0)


def test_sequences_wait_for_kv_cache_memory(model: FrozenModel) -> None:
    bytes_per_position = model.shape.num_layers * 2 * model.shape.num_kv_heads * model.shape.head_dim * 4
    engine = Engine(model, max_num_seqs=3, max_model_len=40, kv_cache_bytes=20 * bytes_per_position)
    outputs = [[], [], []]  # type: list[list[TokenOutput]]
    for each in outputs:
        engine.add_request(EngineRequest(TEXT, SamplingParams(max_new_tokens=7, ignore_eos=True)), None, each.append)
    engine.step()
    assert [len(each) for each in outputs] == [1, 1, 0]
    while not engine.is_idle:
        engine.step()
    assert [len(each) for each in outputs] == [7, 7, 7]


def test_too_long_and_too_many_requests_are_rejected(engine: Engine, model: FrozenModel) -> None:
    with pytest.raises(SettingError, match="longer than the 40 positions of a sequence"):
        engine.add_request(EngineRequest(TEXT, SamplingParams(max_new_tokens=99)), None, lambda _: None)
    sequences = [
        engine.add_request(EngineRequest(TEXT, SamplingParams(max_new_tokens=3)), None, lambda _: None)
        for _ in range(5)
    ]
    assert [running is None for running in sequences] == [False] * 4 + [True]  # others must find a place too


def test_unsupported_attention_is_rejected() -> None:
    for family in ("bloom", "bert", "t5"):
        with pytest.raises(ModelNotSupported, match="cannot be served"):
            Engine(shared_model(family))


def test_memory_of_a_long_sequence_is_released(model: FrozenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence that moved into the slot continues as it would alone."""
    monkeypatch.setattr("softprompt.engine.kv_cache.RETAINED_POSITIONS", 4)
    engine = Engine(model, max_num_seqs=3, max_model_len=120)
    (alone,) = generate(engine, SamplingParams(max_new_tokens=60, ignore_eos=True))
    assert engine.kv_cache._resident_positions == [4, 0, 0]
    long, _, among = generate(
        engine,
        SamplingParams(max_new_tokens=20, ignore_eos=True),
        SamplingParams(max_new_tokens=2, ignore_eos=True),
        SamplingParams(max_new_tokens=60, ignore_eos=True),
    )
    assert get_token_ids(among) == get_token_ids(alone)
    assert get_token_ids(long) == get_token_ids(alone)[:20]
    assert engine.kv_cache._resident_positions == [4, 4, 4]


def test_a_stall_of_the_thread_is_no_cost_of_a_step(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads may have the cores or the interpreter meanwhile; the tokens cost no more for that."""
    run_forward = engine._run_forward

    def stall(plan: Any) -> Any:
        time.sleep(0.2)
        return run_forward(plan)

    generate(engine, SamplingParams(max_new_tokens=4, ignore_eos=True))  # the first calls take longer
    engine.scheduler.cost_model = StepCostModel()
    monkeypatch.setattr(engine, "_run_forward", stall)
    generate(engine, SamplingParams(max_new_tokens=4, ignore_eos=True))
    assert 0 < engine.scheduler.cost_model.base_seconds < 0.1


@pytest.mark.parametrize("ending", ["is non-finite", "is cancelled", "fails", "is preempted"])
def test_a_slot_has_finite_values_after_its_sequence_left(engine: Engine, model: FrozenModel, ending: str) -> None:
    """Masked positions are multiplied by zero, which keeps NaN: the slot's next sequence would be non-finite too."""
    prefix = random_prefix(model, 4, 0)
    overflowing = prefix.with_tensor(torch.full_like(prefix.tensor, 3e38))
    engine.add_request(EngineRequest(TEXT, SamplingParams(max_new_tokens=30, ignore_eos=True)), None, lambda _: None)
    engine.step()
    outputs: list[TokenOutput] = []
    sequence = engine.add_request(
        EngineRequest(TEXT * 4, SamplingParams(max_new_tokens=2)), overflowing, outputs.append
    )
    assert sequence is not None
    engine.step()
    assert (
        0 < sequence.num_computed_tokens < len(sequence.token_ids)
    )  # prefilled in chunks beside the decoding sequence
    if ending == "is non-finite":
        while not outputs:
            engine.step()
        assert outputs[-1].finish_reason is FinishReason.NON_FINITE
    else:
        {
            "is cancelled": engine.cancel_request,
            "fails": engine.abort_request,
            "is preempted": engine._preempt_sequence,
        }[ending](sequence)
    assert all(torch.isfinite(each).all() for each in (engine.kv_cache.keys, engine.kv_cache.values))
