"""What happens to requests beside being answered: law 9 says how they are answered."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from softprompt.engine import End, Engine, Request, Sampling, Written
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
    return Engine(model, slots=3, length=40, tokens=8, waiting=8)


def answered(engine: Engine, *samplings: Sampling) -> list[list[Written]]:
    heard: list[list[Written]] = [[] for _ in samplings]
    for sampling, each in zip(samplings, heard, strict=True):
        engine.add(Request(TEXT, sampling), None, each.append)
    while not engine.is_idle:
        engine.step()
    return heard


def tokens(heard: list[Written]) -> list[int | None]:
    return [written.token for written in heard]


def test_one_that_is_cancelled_frees_its_slot_and_disturbs_nobody(engine: Engine, model: FrozenModel) -> None:
    expected = tokens(answered(engine, Sampling(max_new_tokens=8))[0])
    heard: list[list[Written]] = [[], [], []]
    running = [engine.add(Request(TEXT, Sampling(max_new_tokens=8)), None, each.append) for each in heard]
    engine.step()
    engine.step()
    assert running[0] is not None
    engine.cancel(running[0])
    engine.cancel(running[0])  # it is over: nothing happens
    while not engine.is_idle:
        engine.step()
    assert heard[0][-1].end is End.CANCELLED
    assert [tokens(each) for each in heard[1:]] == [expected] * 2


def test_who_is_not_done_in_time_ends(model: FrozenModel) -> None:
    now = [0.0]
    engine = Engine(model, slots=1, length=40, clock=lambda: now[0])
    running, waiting = [], []
    for heard in (running, waiting):
        engine.add(Request(TEXT, Sampling(max_new_tokens=9, ignore_eos=True), deadline=1.0), None, heard.append)
    engine.step()
    now[0] = 1.0
    engine.step()
    assert [each[-1].end for each in (running, waiting)] == [End.DEADLINE] * 2
    assert len(running) == 2
    assert engine.is_idle


def test_a_stop_text_ends_a_response_before_it(engine: Engine) -> None:
    whole = "".join(written.text for written in answered(engine, Sampling(max_new_tokens=12, ignore_eos=True))[0])
    stop = whole[len(whole) // 2 :][:2]
    (heard,) = answered(engine, Sampling(max_new_tokens=12, stop=[stop], ignore_eos=True))
    assert "".join(written.text for written in heard) == whole[: whole.index(stop)]
    assert heard[-1].end is End.STOP


def test_a_seed_draws_the_same_whatever_else_is_in_the_batch(engine: Engine) -> None:
    drawn = Sampling(max_new_tokens=6, temperature=1.0, seed=3, ignore_eos=True)
    (alone,) = answered(engine, drawn)
    among = answered(engine, Sampling(max_new_tokens=2), drawn, Sampling(max_new_tokens=9, temperature=2.0, seed=1))[1]
    (other,) = answered(engine, Sampling(max_new_tokens=6, temperature=1.0, seed=4, ignore_eos=True))
    assert tokens(among) == tokens(alone)
    assert tokens(other) != tokens(alone)


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_drawing_from_the_most_probable_alone_is_greedy(engine: Engine, narrow: dict[str, float]) -> None:
    greedy, drawn = answered(
        engine,
        Sampling(max_new_tokens=5),
        Sampling(max_new_tokens=5, temperature=1.5, **narrow),  # type: ignore[arg-type]
    )
    assert tokens(drawn) == tokens(greedy)


@pytest.mark.parametrize("more", [{}, {"presence_penalty": 0.5}, {"logit_bias": {7: 3.0}}, {"top_p": 1e-320}])
@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-307, 1e-40, 1e-5])
def test_the_lowest_temperatures_are_greedy(engine: Engine, temperature: float, more: dict[str, Any]) -> None:
    """Divided by one of them logits would be infinite, and what is drawn any token."""
    greedy, drawn = answered(
        engine, Sampling(max_new_tokens=5, **more), Sampling(max_new_tokens=5, temperature=temperature, **more)
    )
    assert tokens(drawn) == tokens(greedy)


@pytest.mark.parametrize("top_p", [0.0, 5e-324, 1e-320, 1e-40])
@pytest.mark.parametrize("temperature", [0.0, 1e-310, 1.0, 2.0])
def test_the_least_top_p_takes_the_most_probable_token(engine: Engine, temperature: float, top_p: float) -> None:
    greedy, drawn = answered(
        engine, Sampling(max_new_tokens=5), Sampling(max_new_tokens=5, temperature=temperature, top_p=top_p)
    )
    assert tokens(drawn) == tokens(greedy)


def test_penalties_and_biases(engine: Engine) -> None:
    (greedy,) = answered(engine, Sampling(max_new_tokens=5, ignore_eos=True))
    first = greedy[0].token
    assert first is not None
    (banned,) = answered(engine, Sampling(max_new_tokens=5, logit_bias={first: -1e9}, ignore_eos=True))
    assert first not in tokens(banned)
    (once,) = answered(engine, Sampling(max_new_tokens=9, presence_penalty=1e9, ignore_eos=True))
    assert len(set(tokens(once))) == 9


def test_virtual_tokens_never_count(model: FrozenModel, engine: Engine) -> None:
    """A penalty on what text and response have leaves placeholders alone."""
    heard: list[Written] = []
    request = Request((-1, -2, *TEXT), Sampling(max_new_tokens=3, repetition_penalty=1.3))
    engine.add(request, random_embeddings(model, 2, 0), heard.append)
    while not engine.is_idle:
        engine.step()
    assert len(heard) == 3


def test_how_probable_each_token_was(engine: Engine, model: FrozenModel) -> None:
    """To the model itself, before whatever else decides."""
    biased = {7: 3.0}
    (heard,) = answered(engine, Sampling(max_new_tokens=3, logprobs=4, logit_bias=biased, ignore_eos=True))
    row = list(TEXT)
    for written in heard:
        with torch.inference_mode():
            logprobs = model.network(torch.tensor([row])).logits[0, -1].log_softmax(dim=-1)
        assert written.token is not None
        assert written.logprob == pytest.approx(float(logprobs[written.token]), abs=1e-4)
        best = [token for token, _ in written.alternatives]
        assert best == logprobs.topk(4).indices.tolist()
        row.append(written.token)
    (none,) = answered(engine, Sampling(max_new_tokens=1))
    assert (none[0].logprob, none[0].alternatives) == (None, ())


@pytest.mark.parametrize("num_virtual_tokens", [0, 3])
def test_what_was_read_before_is_not_read_again(model: FrozenModel, num_virtual_tokens: int) -> None:
    """And the answer is the same; nobody but the tenant gains by it, and only behind the same prompt."""
    payload = model.compile(random_embeddings(model, num_virtual_tokens, 0)) if num_virtual_tokens else None
    text = tuple(range(5, 45))
    engine = Engine(model, slots=2, length=80)

    def asked(tenant: str = "acme", prompt: str | None = "hash") -> tuple[list[int | None], int]:
        heard: list[Written] = []
        request = Request(text, Sampling(max_new_tokens=6, ignore_eos=True), tenant=tenant, prompt=prompt)
        running = engine.add(request, payload, heard.append)
        assert running is not None
        while not engine.is_idle:
            engine.step()
        return tokens(heard), running.reused

    first, nothing = asked()
    assert nothing == 0
    assert asked() == (first, 32)
    assert asked(tenant="other") == (first, 0)
    assert asked(prompt="another") == (first, 0)
    assert asked(prompt=None) == (first, 0)
    assert asked(prompt=None) == (first, 0)


def test_rows_wait_until_there_is_memory_for_them(model: FrozenModel) -> None:
    position = model.shape.num_layers * 2 * model.shape.num_kv_heads * model.shape.head_dim * 4
    engine = Engine(model, slots=3, length=40, memory=20 * position)
    heard = [[], [], []]  # type: list[list[Written]]
    for each in heard:
        engine.add(Request(TEXT, Sampling(max_new_tokens=7, ignore_eos=True)), None, each.append)
    engine.step()
    assert [len(each) for each in heard] == [1, 1, 0]
    while not engine.is_idle:
        engine.step()
    assert [len(each) for each in heard] == [7, 7, 7]


def test_too_many_and_too_long(engine: Engine, model: FrozenModel) -> None:
    with pytest.raises(SettingError, match="more than the 40 that a row may have"):
        engine.add(Request(TEXT, Sampling(max_new_tokens=99)), None, lambda _: None)
    kept = [engine.add(Request(TEXT, Sampling(max_new_tokens=3)), None, lambda _: None) for _ in range(5)]
    assert [running is None for running in kept] == [False] * 4 + [True]  # others are to find room too


def test_a_model_whose_attention_is_its_own() -> None:
    for family in ("bloom", "bert", "t5"):
        with pytest.raises(ModelNotSupported, match="cannot be served"):
            Engine(shared_model(family))


def test_a_long_row_leaves_no_memory_behind(model: FrozenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that moved into its slot lose anything: it writes on as it would alone."""
    monkeypatch.setattr("softprompt.engine.slots.KEPT", 4)
    engine = Engine(model, slots=3, length=120)
    (alone,) = answered(engine, Sampling(max_new_tokens=60, ignore_eos=True))
    assert engine.slots._touched == [4, 0, 0]
    long, _, among = answered(
        engine,
        Sampling(max_new_tokens=20, ignore_eos=True),
        Sampling(max_new_tokens=2, ignore_eos=True),
        Sampling(max_new_tokens=60, ignore_eos=True),
    )
    assert tokens(among) == tokens(alone)
    assert tokens(long) == tokens(alone)[:20]
    assert engine.slots._touched == [4, 4, 4]


@pytest.mark.parametrize("ending", ["overflows", "is cancelled", "fails", "is preempted"])
def test_a_slot_holds_only_finite_numbers_once_its_row_is_gone(engine: Engine, model: FrozenModel, ending: str) -> None:
    """A masked position is multiplied by zero, which leaves NaN as it is: the slot's next row would overflow too."""
    prefix = random_prefix(model, 4, 0)
    overflowing = prefix.with_tensor(torch.full_like(prefix.tensor, 3e38))
    engine.add(Request(TEXT, Sampling(max_new_tokens=30, ignore_eos=True)), None, lambda _: None)
    engine.step()
    heard: list[Written] = []
    row = engine.add(Request(TEXT * 4, Sampling(max_new_tokens=2)), overflowing, heard.append)
    assert row is not None
    engine.step()
    assert 0 < row.computed < len(row.known)  # a piece of its text is read in a step, beside the row that writes
    if ending == "overflows":
        while not heard:
            engine.step()
        assert heard[-1].end is End.OVERFLOW
    else:
        {"is cancelled": engine.cancel, "fails": engine.drop, "is preempted": engine._preempt}[ending](row)
    assert all(torch.isfinite(each).all() for each in (engine.slots.keys, engine.slots.values))
