"""Runs sequences together in the engine, and alone through the model: laws 2 and 3 compare the results."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.engine.matmul_attention import MatmulDecodeAttention
from softprompt.engine.prefix_cache import BLOCK_SIZE
from softprompt.model import FrozenModel, Payload

#: Families that differ in properties which the engine handles: positions, windows, soft caps, shared heads.
FEW_SERVED = ("llama", "gemma2", "gpt2", "opt")

Asked = tuple[list[int], Payload | None]

#: Texts, some of which share a prefix of at least one block of the prefix cache.
_words = st.lists(st.integers(3, 383), min_size=1, max_size=9)
texts = st.lists(_words | _words.map(lambda ids: [9] * BLOCK_SIZE + ids), min_size=1, max_size=5)


def arranged(model: FrozenModel, ids: Sequence[int], payload: Payload | None) -> list[int]:
    token_ids = model.prompt_tokenizer.add_special_tokens(list(ids))
    return token_ids if payload is None else payload.apply_to_prompt(token_ids) or [7]


def drawn_engine(data: st.DataObject, model: FrozenModel) -> Engine:
    """Draw an engine: few or many slots, small or large chunks of prefill, and either decode attention."""
    return Engine(
        model,
        max_num_seqs=data.draw(st.integers(1, 4)),
        max_model_len=60,
        max_num_batched_tokens=data.draw(st.integers(1, 12)),
        decode_backend=data.draw(st.sampled_from([None, MatmulDecodeAttention])),
    )


def joining(data: st.DataObject, model: FrozenModel, asked: Sequence[Asked]) -> list[list[TokenOutput]]:
    """Run requests that join at drawn times; return the outputs of each, with log-probabilities."""
    engine = drawn_engine(data, model)
    outputs: list[list[TokenOutput]] = [[] for _ in asked]
    for index in data.draw(st.permutations(range(len(asked)))):
        ids, payload = asked[index]
        sampling = SamplingParams(data.draw(st.integers(1, 4)), logprobs=20, ignore_eos=True)
        prompt = None if data.draw(st.booleans()) else f"{id(payload)}"
        engine.add_request(
            EngineRequest(tuple(arranged(model, ids, payload)), sampling, prompt_digest=prompt),
            payload,
            outputs[index].append,
        )
        for _ in range(data.draw(st.integers(0, 2))):
            engine.step()
    while not engine.is_idle:
        engine.step()
    return outputs


@torch.no_grad()
def alone(model: FrozenModel, ids: Sequence[int], payload: Payload | None, written: Sequence[int]) -> torch.Tensor:
    """Compute the log-probabilities `[T, V]` of all tokens at each position of a response, in one forward pass."""
    prompt_ids = arranged(model, ids, payload)
    input_ids = torch.tensor([[*prompt_ids, *written[:-1]]])
    hidden = model.compute_hidden_states(input_ids, torch.ones_like(input_ids, dtype=torch.bool), payload)
    return model.compute_logits(hidden)[0, len(prompt_ids) - 1 :].log_softmax(-1)


def check_alone(model: FrozenModel, asked: Asked, told: Sequence[TokenOutput]) -> None:
    """Check that outputs equal those of the request alone: tokens, their log-probabilities, and the top ones."""
    tokens = [output.token_id for output in told if output.token_id is not None]
    for output, expected in zip(told, alone(model, *asked, tokens), strict=True):
        values, best = expected.topk(20)
        assert output.token_id == int(best[0])
        assert output.logprob is not None
        logprobs = torch.tensor([output.logprob, *(value for _, value in output.top_logprobs)])
        torch.testing.assert_close(logprobs, values[[0, *range(20)]], atol=1e-4, rtol=0)
        top_ids = torch.tensor([token for token, _ in output.top_logprobs])
        torch.testing.assert_close(expected[top_ids], values, atol=1e-4, rtol=0)
