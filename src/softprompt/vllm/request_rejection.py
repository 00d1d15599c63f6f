"""The scheduler's check of requests, which no request can bypass.

For a rejected request vLLM would compute the placeholders as text, or a text without its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.errors import SettingError
from softprompt.vllm_protocol import PLACEHOLDER_TOKEN_ID, parse_kv_transfer_params, starts_with_placeholders


@dataclass(frozen=True)
class RequestInfo:
    """A request as the scheduler sees it.

    Attributes:
        kv_transfer_params: the parameters for the connector.
        prompt_token_ids: token ids of the prompt; None for a prompt of embeddings.
        skips_prefix_cache: whether the request bypasses the prefix cache, for example for the log-probabilities of its
            prompt; then vLLM does not call the connector either.
        has_lora: whether the request has a LoRA.
        has_multimodal: whether the prompt has images or audio.
        is_resumable: whether the prompt may grow later.
    """

    kv_transfer_params: object
    prompt_token_ids: Sequence[int] | None
    skips_prefix_cache: bool = False
    has_lora: bool = False
    has_multimodal: bool = False
    is_resumable: bool = False


def find_rejection_reason(request: RequestInfo) -> str | None:
    """Return the reason why a request must be rejected, or None."""
    try:
        params = parse_kv_transfer_params(request.kv_transfer_params)
    except SettingError as error:
        return str(error)
    tokens = request.prompt_token_ids
    if params is None:
        # vLLM's beam search, for example, drops a request's parameters.
        is_nameless = tokens is not None and starts_with_placeholders(tokens)
        return "it starts with placeholders but names no prompt" if is_nameless else None
    if tokens is None:
        return "its input is embeddings: a prompt must be followed by tokens"
    if len(tokens) <= params.num_positions:
        return f"its {len(tokens)} tokens are not more than the prompt's {params.num_positions} positions"
    if any(token != PLACEHOLDER_TOKEN_ID for token in tokens[: params.num_positions]):
        return f"it does not start with {params.num_positions} placeholders (token {PLACEHOLDER_TOKEN_ID})"
    return _find_unsupported_feature(request)


def _find_unsupported_feature(request: RequestInfo) -> str | None:
    if request.skips_prefix_cache:
        return "it requests log-probabilities of its input, or bypasses the prefix cache: prompts support neither"
    if request.has_lora:
        return "it also names a LoRA adapter: the prompt was trained for the model without one"
    if request.has_multimodal:
        return "its input contains images or sounds"
    return "it belongs to a session, whose input grows" if request.is_resumable else None
