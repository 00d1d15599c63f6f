"""Rows run by the engine, and each of them alone, as the model itself goes over it: what laws 2 and 3 compare."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.engine.matmul_attention import MatmulDecodeAttention
from softprompt.engine.prefix_cache import BLOCK_SIZE
from softprompt.model import FrozenModel, Payload

#: Families that differ in what the engine has to know of them: places, windows, soft caps, shared heads.
FEW_SERVED = ("llama", "gemma2", "gpt2", "opt")

Asked = tuple[list[int], Payload | None]

#: Texts, some of which begin alike for longer than what the engine keeps of them.
_words = st.lists(st.integers(3, 383), min_size=1, max_size=9)
texts = st.lists(_words | _words.map(lambda ids: [9] * BLOCK_SIZE + ids), min_size=1, max_size=5)


def arranged(model: FrozenModel, ids: Sequence[int], payload: Payload | None) -> list[int]:
    row = model.prompt_tokenizer.add_special_tokens(list(ids))
    return row if payload is None else payload.apply_to_prompt(row) or [7]


def drawn_engine(data: st.DataObject, model: FrozenModel) -> Engine:
    """One of few or many slots, that reads in small or large pieces, with either attention of rows that write."""
    return Engine(
        model,
        max_num_seqs=data.draw(st.integers(1, 4)),
        max_model_len=60,
        max_num_batched_tokens=data.draw(st.integers(1, 12)),
        decode_backend=data.draw(st.sampled_from([None, MatmulDecodeAttention])),
    )


def joining(data: st.DataObject, model: FrozenModel, asked: Sequence[Asked]) -> list[list[TokenOutput]]:
    """What each row is told, its probabilities too, whenever it joins and whatever is beside it."""
    engine = drawn_engine(data, model)
    told: list[list[TokenOutput]] = [[] for _ in asked]
    for place in data.draw(st.permutations(range(len(asked)))):
        ids, payload = asked[place]
        sampling = SamplingParams(data.draw(st.integers(1, 4)), logprobs=20, ignore_eos=True)
        prompt = None if data.draw(st.booleans()) else f"{id(payload)}"
        engine.add_request(
            EngineRequest(tuple(arranged(model, ids, payload)), sampling, prompt_digest=prompt),
            payload,
            told[place].append,
        )
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
    hidden = model.compute_hidden_states(row, torch.ones_like(row, dtype=torch.bool), payload)
    return model.compute_logits(hidden)[0, len(text) - 1 :].log_softmax(-1)


def check_alone(model: FrozenModel, asked: Asked, told: Sequence[TokenOutput]) -> None:
    """A row was told what it is told alone: each token, its probability, and those of the most probable ones."""
    tokens = [each.token_id for each in told if each.token_id is not None]
    for each, expected in zip(told, alone(model, *asked, tokens), strict=True):
        values, best = expected.topk(20)
        assert each.token_id == int(best[0])
        assert each.logprob is not None
        found = torch.tensor([each.logprob, *(value for _, value in each.top_logprobs)])
        torch.testing.assert_close(found, values[[0, *range(20)]], atol=1e-4, rtol=0)
        named = torch.tensor([token for token, _ in each.top_logprobs])
        torch.testing.assert_close(expected[named], values, atol=1e-4, rtol=0)
