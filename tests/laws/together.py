"""Rows run by the engine, and each of them alone, as the model itself goes over it: what laws 2 and 3 compare."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from softprompt.engine import Engine, Request, Sampling, Written
from softprompt.engine.beginnings import BLOCK
from softprompt.engine.products import Products
from softprompt.model import FrozenModel, Payload

#: Families that differ in what the engine has to know of them: places, windows, soft caps, shared heads.
FEW_SERVED = ("llama", "gemma2", "gpt2", "opt")

Asked = tuple[list[int], Payload | None]

#: Texts, some of which begin alike for longer than what the engine keeps of them.
_words = st.lists(st.integers(3, 383), min_size=1, max_size=9)
texts = st.lists(_words | _words.map(lambda ids: [9] * BLOCK + ids), min_size=1, max_size=5)


def arranged(model: FrozenModel, ids: Sequence[int], payload: Payload | None) -> list[int]:
    row = model.row(list(ids))
    return row if payload is None else payload.arrange(row) or [7]


def drawn_engine(data: st.DataObject, model: FrozenModel) -> Engine:
    """One of few or many slots, that reads in small or large pieces, with either attention of rows that write."""
    return Engine(
        model,
        slots=data.draw(st.integers(1, 4)),
        length=60,
        tokens=data.draw(st.integers(1, 12)),
        singles=data.draw(st.sampled_from([None, Products])),
    )


def joining(data: st.DataObject, model: FrozenModel, asked: Sequence[Asked]) -> list[list[Written]]:
    """What each row is told, its probabilities too, whenever it joins and whatever is beside it."""
    engine = drawn_engine(data, model)
    told: list[list[Written]] = [[] for _ in asked]
    for place in data.draw(st.permutations(range(len(asked)))):
        ids, payload = asked[place]
        sampling = Sampling(data.draw(st.integers(1, 4)), logprobs=20, ignore_eos=True)
        prompt = None if data.draw(st.booleans()) else f"{id(payload)}"
        engine.add(Request(tuple(arranged(model, ids, payload)), sampling, prompt=prompt), payload, told[place].append)
        for _ in range(data.draw(st.integers(0, 2))):
            engine.step()
    while not engine.is_idle:
        engine.step()
    return told


@torch.no_grad()
def alone(model: FrozenModel, ids: Sequence[int], payload: Payload | None, written: Sequence[int]) -> torch.Tensor:
    """The logarithms of all tokens' probabilities at each place of a response, in one pass over the row: [T, V]."""
    text = arranged(model, ids, payload)
    row = torch.tensor([[*text, *written[:-1]]])
    hidden = model.hidden(row, torch.ones_like(row, dtype=torch.bool), payload)
    return model.logits(hidden)[0, len(text) - 1 :].log_softmax(-1)


def check_alone(model: FrozenModel, asked: Asked, told: Sequence[Written]) -> None:
    """A row was told what it is told alone: each token, its probability, and those of the most probable ones."""
    tokens = [each.token for each in told if each.token is not None]
    for each, expected in zip(told, alone(model, *asked, tokens), strict=True):
        values, best = expected.topk(20)
        assert each.token == int(best[0])
        assert each.logprob is not None
        found = torch.tensor([each.logprob, *(value for _, value in each.alternatives)])
        torch.testing.assert_close(found, values[[0, *range(20)]], atol=1e-4, rtol=0)
        named = torch.tensor([token for token, _ in each.alternatives])
        torch.testing.assert_close(expected[named], values, atol=1e-4, rtol=0)
