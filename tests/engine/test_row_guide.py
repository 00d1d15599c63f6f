"""Masks of grammars are made beside the model's steps: a row waits for its own alone, and within its budget."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from softprompt.engine import End, Engine, Request, Sampling, Written
from softprompt.engine.grammar import Grammars, Guide
from softprompt.engine.mask_pool import MaskPool
from softprompt.engine.row_guide import RowGuide
from softprompt.model import FrozenModel
from tests.tiny import shared_model


@pytest.fixture
def model() -> FrozenModel:
    return shared_model("llama")


@pytest.fixture
def grammars(model: FrozenModel) -> Grammars:
    return Grammars(model.tokenizer, model.shape.vocab_size, model.eos_token_ids)  # type: ignore[arg-type]


def test_tenants_take_turns() -> None:
    pool, go, done = MaskPool(threads=1), threading.Event(), list[str]()
    jobs = [pool.submit("first", go.wait)]
    for tenant in ("a", "a", "a", "b"):
        jobs.append(pool.submit(tenant, lambda tenant=tenant: done.append(tenant)))  # type: ignore[misc]
    cancelled = pool.submit("a", lambda: done.append("cancelled"))
    assert cancelled.cancel()
    go.set()
    wait(jobs)
    assert done == ["a", "b", "a", "a"]


def test_a_mask_that_takes_long_holds_its_own_row_alone(
    model: FrozenModel, grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the row goes on as if nothing had been."""
    grammar, go = grammars.regex("[a-z]{9}"), threading.Event()
    held = Sampling(max_new_tokens=20, temperature=1.0, grammar=grammar)

    def answer(slow: bool) -> tuple[list[Written], list[Written]]:
        engine, heard = Engine(model, slots=4, length=64), ([], [])  # type: tuple[list[Written], list[Written]]
        engine.add(Request((5, 9, 77), held), None, heard[0].append)
        engine.add(Request((5, 9, 77), Sampling(max_new_tokens=20, ignore_eos=True)), None, heard[1].append)
        while slow and len(heard[1]) < 20:
            engine.step()
        assert not (slow and heard[0])
        go.set()
        while not engine.is_idle:
            engine.step()
        return heard

    find = Guide.allowed
    with monkeypatch.context() as patch:
        patch.setattr(Guide, "allowed", lambda guide, size: go.wait() and find(guide, size))
        slow = answer(slow=True)
    assert slow == answer(slow=False)


def test_a_grammar_over_its_budget_ends_its_row_alone(
    model: FrozenModel, grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.engine.row_guide.FIRST_SECONDS", -1.0)
    engine, heard = Engine(model, slots=4, length=64), ([], [])  # type: tuple[list[Written], list[Written]]
    engine.add(Request((5, 9), Sampling(max_new_tokens=9, grammar=grammars.regex("[a-z]{9}"))), None, heard[0].append)
    engine.add(Request((5, 9), Sampling(max_new_tokens=9, ignore_eos=True)), None, heard[1].append)
    while not engine.is_idle:
        engine.step()
    assert [(each.token, each.end) for each in heard[0]] == [(None, End.STUCK)]
    assert len(heard[1]) == 9


def test_a_guide_that_is_built_anew_goes_on(model: FrozenModel, grammars: Grammars) -> None:
    grammar, size, pool = grammars.regex("ab[cd]{3}"), model.shape.vocab_size, MaskPool(1)
    [a], [b] = model.tokenize("a"), model.tokenize("b")
    guide = RowGuide(grammar, size, pool, "acme")
    for token in (a, b):
        guide.mask()
        guide.take(token)
    again = RowGuide(grammar, size, pool, "acme", written=[a, b])
    ours, theirs = guide.mask(), again.mask()
    assert ours is not None
    assert theirs is not None
    assert (ours == theirs).all()
    assert ours.any()
