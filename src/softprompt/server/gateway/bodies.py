"""What is said to a replica: bodies of vLLM's `/v1/completions`, made of checked fields alone.

Nothing that a client wrote is passed on as it came: whatever stands here was read by the server's own protocol, and the
three fields that say behind which prompt a row stands, and who may share what is made of it, are set here and nowhere
else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from softprompt.engine import Request, Sampling

HOLDER = 0  # the token that stands where a prefix is laid
NOBODY = "0" * 64  # the content hash of no prompt
MOST_TOLD = 20  # alternatives that vLLM tells of a token, unless its operator says otherwise

Body = dict[str, Any]


def writing(request: Request, positions: int, eos_token_ids: Sequence[int]) -> Body:
    """A response that is told token by token, text and ends being ours to make."""
    sampling = request.sampling
    return {
        **_behind([request.ids], positions, request.tenant, digits(request.prompt or "")),
        **_sampling(sampling),
        "max_tokens": sampling.max_new_tokens,
        "ignore_eos": True,  # what ends a response is said below, and is the same as in the engine
        "stop_token_ids": [] if sampling.ignore_eos else list(eos_token_ids),
        "stream": True,
        "stream_options": {"include_usage": True},  # says what the prefix cache had
    }


def telling(rows: Sequence[Sequence[int]], positions: int, tenant: str, prompt: str, only: int | None = None) -> Body:
    """The most probable next tokens of several rows behind one prompt; or how probable `only` this one is."""
    return {
        **_behind(rows, positions, tenant, prompt),
        "max_tokens": 1,
        "temperature": 0.0,
        "ignore_eos": True,
        **({"logprobs": MOST_TOLD} if only is None else {"logprobs": 0, "allowed_token_ids": [only]}),
    }


def canary() -> Body:
    """What a replica must refuse: a prompt that nobody has."""
    return telling([[HOLDER]], 1, "", NOBODY)


def salt(tenant: str, prompt: str) -> str:
    """What names the state that a tenant's rows behind a prompt leave: nobody else's are taken for it."""
    return hashlib.sha256(f"{tenant}\0{prompt}".encode()).hexdigest()


def digits(content: str) -> str:
    """The digits of a content hash, as the store names folders; none of the bare base's."""
    return content.removeprefix("sha256:")


def key(tenant: str, prompt: str) -> str:
    """What is asked for together: whoever asks behind a prompt, and a tenant that asks the bare base."""
    return prompt or salt(tenant, prompt)


def _behind(rows: Sequence[Sequence[int]], positions: int, tenant: str, prompt: str) -> Body:
    """Rows behind a prompt of so many positions; of none behind the bare base."""
    body: Body = {
        "prompt": [[*[HOLDER] * positions, *row] for row in rows],
        "cache_salt": salt(tenant, prompt),
        "add_special_tokens": False,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    if prompt:
        body["kv_transfer_params"] = {"softprompt": {"prompt": prompt, "positions": positions}}
    return body


def _sampling(sampling: Sampling) -> Body:
    body: Body = {
        "temperature": 0.0 if sampling.is_greedy else sampling.temperature,
        "top_p": 1.0 if sampling.is_greedy else sampling.top_p,  # to vLLM 0 is none
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": sampling.seed % 2**63,  # to vLLM -1 is none
    }
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.logprobs is not None:
        body["logprobs"] = sampling.logprobs
    if sampling.grammar is not None:
        body["structured_outputs"] = dict(sampling.grammar.form)
    return body
