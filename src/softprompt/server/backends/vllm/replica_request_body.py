"""Bodies of requests to replicas (vLLM's `/v1/completions`), built from validated fields only.

No field of a client is passed through. The three fields that select the prompt and the sharing of cached state
(`prompt`, `cache_salt`, `kv_transfer_params`) are set only here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from softprompt.engine import EngineRequest, SamplingParams
from softprompt.vllm_protocol import (
    PLACEHOLDER_TOKEN_ID,
    UNKNOWN_PROMPT_DIGEST,
    PromptTransferParams,
    prepend_placeholders,
)

VLLM_MAX_LOGPROBS = 20  # vLLM's default maximum

RequestBody = dict[str, Any]


def build_completion_body(
    request: EngineRequest, num_prefix_positions: int, eos_token_ids: Sequence[int]
) -> RequestBody:
    """Build the body of a streamed response; text and stop strings are handled by the gateway."""
    sampling = request.sampling
    return {
        **_build_prompt_fields(
            [request.prompt_token_ids],
            num_prefix_positions,
            request.tenant,
            strip_digest_prefix(request.prompt_digest or ""),
        ),
        **_build_sampling_fields(sampling),
        "max_tokens": sampling.max_new_tokens,
        "ignore_eos": True,  # stop_token_ids below end the response as in the engine
        "stop_token_ids": [] if sampling.ignore_eos else list(eos_token_ids),
        "stream": True,
        "stream_options": {"include_usage": True},  # reports prefix cache hits
    }


def build_next_token_body(
    sequences: Sequence[Sequence[int]],
    num_prefix_positions: int,
    tenant: str,
    prompt_digest: str,
    only_token_id: int | None = None,
) -> RequestBody:
    """Build the body for the most probable next tokens of sequences, or for the probability of one token."""
    return {
        **_build_prompt_fields(sequences, num_prefix_positions, tenant, prompt_digest),
        "max_tokens": 1,
        "temperature": 0.0,
        "ignore_eos": True,
        **(
            {"logprobs": VLLM_MAX_LOGPROBS}
            if only_token_id is None
            else {"logprobs": 0, "allowed_token_ids": [only_token_id]}
        ),
    }


def build_guard_probe_body() -> RequestBody:
    """Build the body that a replica must reject: its prompt does not exist."""
    return build_next_token_body([[PLACEHOLDER_TOKEN_ID]], 1, "", UNKNOWN_PROMPT_DIGEST)


def make_cache_salt(tenant: str, prompt_digest: str) -> str:
    """Return the cache salt of a tenant and a prompt, so that no other tenant shares cached state."""
    return hashlib.sha256(f"{tenant}\0{prompt_digest}".encode()).hexdigest()


def strip_digest_prefix(digest: str) -> str:
    """Return a digest without its algorithm, as in the artifact store; empty for the base model."""
    return digest.removeprefix("sha256:")


def make_routing_key(tenant: str, prompt_digest: str) -> str:
    """Return the routing key: the prompt's digest, or the tenant's own key for the base model."""
    return prompt_digest or make_cache_salt(tenant, prompt_digest)


def _build_prompt_fields(
    sequences: Sequence[Sequence[int]], num_prefix_positions: int, tenant: str, prompt_digest: str
) -> RequestBody:
    """Build the fields of sequences with a prompt; 0 prefix positions for the base model."""
    body: RequestBody = {
        "prompt": [prepend_placeholders(sequence, num_prefix_positions) for sequence in sequences],
        "cache_salt": make_cache_salt(tenant, prompt_digest),
        "add_special_tokens": False,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    if prompt_digest:
        params = PromptTransferParams(prompt_digest, num_prefix_positions)
        body["kv_transfer_params"] = params.to_kv_transfer_params()
    return body


def _build_sampling_fields(sampling: SamplingParams) -> RequestBody:
    body: RequestBody = {
        "temperature": 0.0 if sampling.is_greedy else sampling.temperature,
        "top_p": 1.0 if sampling.is_greedy else sampling.top_p,  # vLLM rejects 0
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": sampling.seed % 2**63,  # vLLM rejects negative seeds
    }
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.logprobs is not None:
        body["logprobs"] = sampling.logprobs
    if sampling.grammar is not None:
        body["structured_outputs"] = dict(sampling.grammar.spec)
    return body
