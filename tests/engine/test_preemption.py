"""A row whose slot was taken back goes on as if nothing had happened, whatever it keeps beside its tokens."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.engine import Engine, Request, Sampling, Written
from softprompt.engine.grammar import Grammars
from softprompt.engine.running import Running
from softprompt.model import Embeddings, FrozenModel, Payload
from tests.strategies import random_embeddings
from tests.tiny import shared_model

TEXT = tuple(range(5, 30))
LENGTH = 10

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"temperature": 1.0, "seed": 7, "top_p": 0.9},
    "penalties": {"temperature": 1.0, "presence_penalty": 1.0, "frequency_penalty": 0.5, "repetition_penalty": 1.3},
    "biased": {"logit_bias": {7: 3.0, 9: -5.0}},
    "stopped": {"stop": ["zzz", "\x00\x01"]},
    "told": {"logprobs": 5},
}


@pytest.fixture
def model() -> FrozenModel:
    return shared_model("llama")


def heard(
    model: FrozenModel, sampling: Sampling, payload: Payload | None, others_at: int | None, prompt: str | None
) -> tuple[list[Written], Running]:
    """What a row says; at that step somebody comes for whom its slot is taken back."""
    engine, said = Engine(model, slots=2, length=96, tokens=8), list[Written]()
    ids = tuple(range(-payload.num_positions, 0)) + TEXT if isinstance(payload, Embeddings) else TEXT
    engine.add(Request(TEXT * 2, Sampling(30, ignore_eos=True), "much"), None, lambda _: None)
    running = engine.add(Request(ids, sampling, "much", prompt=prompt), payload, said.append)
    assert running is not None
    steps = 0
    while not said or said[-1].end is None:
        if steps == others_at:
            engine.add(Request((5, 9), Sampling(3, ignore_eos=True), "little"), None, lambda _: None)
        engine.step()
        steps += 1
    return said, running


def check_same(
    model: FrozenModel, sampling: Sampling, payload: Payload | None = None, prompt: str | None = None, at: int = 7
) -> None:
    alone, undisturbed = heard(model, sampling, payload, None, prompt)
    again, interrupted = heard(model, sampling, payload, at, prompt)
    assert (undisturbed.preemptions, interrupted.preemptions > 0) == (0, True)
    assert [(each.token, each.text, each.end) for each in again] == [
        (each.token, each.text, each.end) for each in alone
    ]
    assert interrupted.reused == undisturbed.reused
    for mine, other in zip(again, alone, strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [token for token, _ in mine.alternatives] == [token for token, _ in other.alternatives]


@pytest.mark.parametrize("name", SAMPLINGS)
def test_the_same_is_written(model: FrozenModel, name: str) -> None:
    check_same(model, Sampling(LENGTH, ignore_eos=True, **SAMPLINGS[name]))


@pytest.mark.parametrize("at", [1, 3, 9])
def test_whenever_it_is_interrupted(model: FrozenModel, at: int) -> None:
    """While its text is read, at its first token, at a later one."""
    check_same(model, Sampling(LENGTH, ignore_eos=True), at=at)


@pytest.mark.parametrize("prompt", [None, "hash"])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_behind_a_prompt(model: FrozenModel, is_compiled: bool, prompt: str | None) -> None:
    payload: Payload = random_embeddings(model, 3, 0)
    if is_compiled:
        payload = model.compile(payload)
    check_same(model, Sampling(LENGTH, ignore_eos=True), payload, prompt)


def test_in_a_grammar(model: FrozenModel) -> None:
    grammars = Grammars(model.tokenizer, model.shape.vocab_size, model.eos_token_ids)  # type: ignore[arg-type]
    schema = {"type": "array", "items": {"enum": ["good", "bad"]}, "minItems": 20}
    check_same(model, Sampling(LENGTH, grammar=grammars.json_schema(schema)))


def test_rows_that_wait_for_their_slots_again_can_be_cancelled(model: FrozenModel) -> None:
    engine, said = Engine(model, slots=1, length=128), list[Written]()
    running = engine.add(Request(TEXT, Sampling(100, ignore_eos=True), "much"), None, said.append)
    assert running is not None
    for _ in range(70):
        engine.step()
    other = engine.add(Request(TEXT, Sampling(100, ignore_eos=True), "little"), None, lambda _: None)
    engine.step()
    assert other is not None
    assert (running.slot, other.slot) == (-1, 0)
    engine.cancel(running)
    assert said[-1].end is not None
    engine.cancel(other)
    assert engine.is_idle
