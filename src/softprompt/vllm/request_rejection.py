"""Which requests are refused, looked at once more where nobody can go around it: in vLLM's scheduler.

What vLLM would compute of these is the placeholders' own text, or a text behind something that no prompt says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.errors import SettingError
from softprompt.vllm_protocol import PLACEHOLDER_TOKEN_ID, parse_kv_transfer_params, starts_with_placeholders


@dataclass(frozen=True)
class RequestInfo:
    """What the scheduler knows of a request.

    Attributes:
        parameters: its `kv_transfer_params`.
        tokens: those of its prompt, or None where it brought embeddings instead.
        reads_all: it does without the prefix cache, as those do that want their prompt's log-probabilities; then vLLM
            asks no connector either.
        has_adapter: a LoRA is to change the model.
        has_media: images or sounds are among its tokens.
        goes_on: its prompt may become longer later.
    """

    kv_transfer_params: object
    prompt_token_ids: Sequence[int] | None
    skips_prefix_cache: bool = False
    has_lora: bool = False
    has_multimodal: bool = False
    is_resumable: bool = False


def find_rejection_reason(request: RequestInfo) -> str | None:
    """What is wrong with a request, or None."""
    try:
        asked = parse_kv_transfer_params(request.kv_transfer_params)
    except SettingError as error:
        return str(error)
    tokens = request.prompt_token_ids
    if asked is None:
        # Nobody writes this token twice in front of a text. Beam search, for one, forgets a request's parameters.
        nameless = tokens is not None and starts_with_placeholders(tokens)
        return "it begins with placeholders and names no prompt" if nameless else None
    if tokens is None:
        return "it brings embeddings: a prompt is followed by tokens"
    if len(tokens) <= asked.num_positions:
        return f"its {len(tokens)} tokens are not more than the prompt's {asked.num_positions} positions"
    if any(token != PLACEHOLDER_TOKEN_ID for token in tokens[: asked.num_positions]):
        return f"it does not begin with {asked.num_positions} placeholders ({PLACEHOLDER_TOKEN_ID})"
    return _find_unsupported_feature(request)


def _find_unsupported_feature(request: RequestInfo) -> str | None:
    if request.skips_prefix_cache:
        return "it asks for its prompt's log-probabilities, or to leave the prefix cache alone: a prefix has none"
    if request.has_lora:
        return "it names a LoRA as well: the prompt was made for the model without"
    if request.has_multimodal:
        return "it holds images or sounds"
    return "it is a session, whose prompt grows" if request.is_resumable else None
