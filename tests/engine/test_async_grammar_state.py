"""Grammar masks are computed in parallel with steps: a sequence waits only for its own mask, within its budget."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from softprompt.engine import Engine, EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.engine.async_grammar_state import AsyncGrammarState
from softprompt.engine.mask_pool import MaskPool
from softprompt.model import FrozenModel
from softprompt.sampling.grammar import GrammarState, GuidanceCompiler
from tests.tiny import shared_model


@pytest.fixture
def model() -> FrozenModel:
    return shared_model("llama")


@pytest.fixture
def compiler(model: FrozenModel) -> GuidanceCompiler:
    return GuidanceCompiler(model.tokenizer, model.shape.vocab_size, model.eos_token_ids)  # type: ignore[arg-type]


def test_tenants_take_turns_in_the_mask_pool() -> None:
    pool, release, done = MaskPool(num_threads=1), threading.Event(), list[str]()
    jobs = [pool.submit_job("first", release.wait)]
    for tenant in ("a", "a", "a", "b"):
        jobs.append(pool.submit_job(tenant, lambda tenant=tenant: done.append(tenant)))  # type: ignore[misc]
    cancelled = pool.submit_job("a", lambda: done.append("cancelled"))
    assert cancelled.cancel()
    release.set()
    wait(jobs)
    assert done == ["a", "b", "a", "a"]


def test_a_slow_mask_delays_only_its_own_sequence(
    model: FrozenModel, compiler: GuidanceCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sequence's response does not change."""
    grammar, release = compiler.compile_regex("[a-z]{9}"), threading.Event()
    constrained = SamplingParams(max_new_tokens=20, temperature=1.0, grammar=grammar)

    def answer(is_slow: bool) -> tuple[list[TokenOutput], list[TokenOutput]]:
        engine, outputs = Engine(model, max_num_seqs=4, max_model_len=64), ([], [])  # type: tuple[list[TokenOutput], list[TokenOutput]]
        engine.add_request(EngineRequest((5, 9, 77), constrained), None, outputs[0].append)
        engine.add_request(
            EngineRequest((5, 9, 77), SamplingParams(max_new_tokens=20, ignore_eos=True)), None, outputs[1].append
        )
        while is_slow and len(outputs[1]) < 20:
            engine.step()
        assert not (is_slow and outputs[0])
        release.set()
        while not engine.is_idle:
            engine.step()
        return outputs

    get_mask = GrammarState.get_mask
    with monkeypatch.context() as patch:
        patch.setattr(GrammarState, "get_mask", lambda state: release.wait() and get_mask(state))
        delayed = answer(is_slow=True)
    assert delayed == answer(is_slow=False)


def test_exceeding_the_mask_budget_ends_only_that_sequence(
    model: FrozenModel, compiler: GuidanceCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.engine.async_grammar_state.MASK_BUDGET_BASE_S", -1.0)
    engine, outputs = Engine(model, max_num_seqs=4, max_model_len=64), ([], [])  # type: tuple[list[TokenOutput], list[TokenOutput]]
    engine.add_request(
        EngineRequest((5, 9), SamplingParams(max_new_tokens=9, grammar=compiler.compile_regex("[a-z]{9}"))),
        None,
        outputs[0].append,
    )
    engine.add_request(
        EngineRequest((5, 9), SamplingParams(max_new_tokens=9, ignore_eos=True)), None, outputs[1].append
    )
    while not engine.is_idle:
        engine.step()
    assert [(each.token_id, each.finish_reason) for each in outputs[0]] == [(None, FinishReason.GRAMMAR_DEAD_END)]
    assert len(outputs[1]) == 9


def test_a_rebuilt_grammar_state_continues_with_the_same_mask(model: FrozenModel, compiler: GuidanceCompiler) -> None:
    grammar, pool = compiler.compile_regex("ab[cd]{3}"), MaskPool(1)
    [a], [b] = model.prompt_tokenizer.tokenize("a"), model.prompt_tokenizer.tokenize("b")
    state = AsyncGrammarState(grammar, pool, "acme")
    for token in (a, b):
        state.get_mask()
        state.accept_token(token)
    rebuilt = AsyncGrammarState(grammar, pool, "acme", output_token_ids=[a, b])
    ours, theirs = state.get_mask(), rebuilt.get_mask()
    assert ours is not None
    assert theirs is not None
    assert (ours == theirs).all()
    assert ours.any()
