"""Law 9: streamed pieces join to the whole text; greedy engine output equals transformers' greedy output."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine import Engine, Request, Sampling, Written
from softprompt.evaluation.generating import Sampling as Plainly
from softprompt.evaluation.generating import decoded, steps
from softprompt.model import FrozenModel, Payload
from softprompt.tasks import Row
from tests.laws.few import few
from tests.laws.together import drawn_engine
from tests.strategies import payloads
from tests.tiny import shared_model

#: The families whose attention can be given to the engine.
SERVED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox", "opt")


@dataclass
class Heard:
    """A response as it is streamed."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""

    def __call__(self, written: Written) -> None:
        self.tokens.append(written.token if written.token is not None else -1)
        self.text += written.text


def alone(model: FrozenModel, payload: Payload | None, text: list[int], count: int) -> list[int]:
    return [int(tokens[0]) for tokens in steps(model, [Row(text, [])], [payload], Plainly(max_new_tokens=count))]


def asked(payload: Payload | None, text: list[int], count: int, tenant: str) -> Request:
    ids = text if payload is None else payload.arrange(text)
    return Request(tuple(ids), Sampling(max_new_tokens=count), tenant=tenant)


@pytest.mark.parametrize("family", SERVED)
@given(data=st.data())
@few
@torch.no_grad()
def test_greedy_is_what_each_row_would_write_alone(family: str, data: st.DataObject) -> None:
    """Whatever joins and leaves beside it, in however many slots, and in whatever pieces its text is read."""
    model = shared_model(family)
    texts = data.draw(st.lists(st.lists(st.integers(3, 383), min_size=1, max_size=9), min_size=1, max_size=7))
    prompts = [data.draw(payloads(model, family) | st.none()) for _ in texts]
    compiled = [None if prompt is None else model.compile(prompt) for prompt in prompts]
    counts = [data.draw(st.integers(1, 5)) for _ in texts]
    engine = drawn_engine(data, model)
    heard = [Heard() for _ in texts]
    for i, (text, payload, count) in enumerate(zip(texts, compiled, counts, strict=True)):
        engine.add(asked(payload, model.row(text), count, tenant=str(i % 3)), payload, heard[i])
        for _ in range(data.draw(st.integers(0, 2))):
            engine.step()
    while not engine.is_idle:
        engine.step()
    for text, payload, count, each in zip(texts, compiled, counts, heard, strict=True):
        assert each.tokens == alone(model, payload, model.row(text), count)
        assert each.text == decoded(model, each.tokens)


@pytest.mark.parametrize("family", SERVED)
def test_greedy_is_transformers_own(family: str) -> None:
    model, heard = shared_model(family), Heard()
    engine = Engine(model, slots=2, length=60)
    text = model.row([5, 9, 77, 31])
    expected = model.network.generate(torch.tensor([text]), max_new_tokens=6, do_sample=False, eos_token_id=model.eos)
    engine.add(asked(None, text, 6, ""), None, heard)
    while not engine.is_idle:
        engine.step()
    assert heard.tokens == expected[0, len(text) :].tolist()
