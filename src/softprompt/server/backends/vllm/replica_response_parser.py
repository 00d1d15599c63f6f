"""Parser of vLLM's responses and events to tokens with log-probabilities. Performs no I/O of its own."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.engine import FinishReason
from softprompt.vllm_protocol import is_plugin_error

FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
TOKEN_ID_PREFIX = "token_id:"
MIN_LOGPROB = -9999.0  # vLLM's value for an impossible token


class ReplicaConnectionError(Exception):
    """A replica cannot be reached, or its response is malformed."""


class NonFiniteLogits(Exception):
    """A replica's logits are not finite, so the log-probabilities are NaN."""


class GrammarDeadEnd(Exception):
    """A replica ended a response because its grammar became too complex, or allows no token."""


class ReplicaStatusError(Exception):
    """A replica responded with an error.

    Args:
        status: HTTP status code.
        message: message of the replica.
    """

    def __init__(self, status: int, message: str):
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message

    @property
    def is_client_error(self) -> bool:
        """Whether every replica would reject the request; errors of the plugin depend on the replica."""
        return self.status in (400, 422) and not self.is_from_plugin

    @property
    def is_logit_overflow(self) -> bool:
        """Whether the log-probabilities are NaN, which vLLM cannot serialize."""
        return "not JSON compliant" in self.message

    @property
    def is_internal_error(self) -> bool:
        """Whether vLLM reports an internal error without its cause."""
        return self.status == 500 and not self.is_from_plugin and not self.is_logit_overflow

    @property
    def is_from_plugin(self) -> bool:
        """Whether the error is from softprompt's plugin in the replica."""
        return is_plugin_error(self.message)


@dataclass(frozen=True)
class OutputToken:
    """A generated token.

    Attributes:
        token_id: id of the token.
        logprob: log-probability of the token, if requested.
        top_logprobs: most probable tokens with their log-probabilities, in descending order.
    """

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class CompletionDelta:
    """The next part of a response.

    Attributes:
        tokens: new tokens, possibly none.
        finish_reason: why the response ended, if it did.
    """

    tokens: tuple[OutputToken, ...]
    finish_reason: FinishReason | None


async def iter_sse_events(stream: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any]]:
    """Yield the events of a stream up to `[DONE]`.

    Raises:
        ReplicaConnectionError: the stream broke off or is malformed.
        ReplicaStatusError: the stream has an error event.
    """
    incomplete_line = b""
    async for chunk in stream:
        *lines, incomplete_line = (incomplete_line + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue  # a blank line or a keep-alive comment
            content = line.removeprefix(b"data:").strip()
            if content == b"[DONE]":
                async for _ in stream:
                    pass  # drain the stream, so that the connection can be reused
                return
            yield _parse_event(content)
    raise ReplicaConnectionError("the stream ended without [DONE]")


def _parse_event(content: bytes) -> dict[str, Any]:
    try:
        event = json.loads(content)
    except ValueError as error:
        raise ReplicaConnectionError(f"the replica sent an event that is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise ReplicaConnectionError("the replica sent an event that is not a JSON object")
    if "error" in event:
        raise parse_error(500, event)
    return event


def parse_delta(event: Mapping[str, Any], num_logprobs: int | None) -> CompletionDelta | None:
    """Parse an event of a stream with a single response; None for an event without choices.

    Args:
        event: event of the stream.
        num_logprobs: requested alternatives of each token; None if no log-probabilities were requested.

    Raises:
        ReplicaConnectionError: the event is malformed.
        NonFiniteLogits: a log-probability is not finite.
    """
    try:
        if not event["choices"]:
            return None
        [choice] = event["choices"]
        ids, reason = choice["token_ids"] or (), choice["finish_reason"]
        if reason is not None and reason not in FINISH_REASONS:
            raise ReplicaConnectionError(f"the replica sent an unknown finish reason: {reason!r}")
        if num_logprobs is None:
            tokens = tuple(OutputToken(int(token_id)) for token_id in ids)
        else:
            tokens = _parse_tokens(ids, choice["logprobs"], num_logprobs)
        return CompletionDelta(tokens, None if reason is None else FINISH_REASONS[reason])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReplicaConnectionError(f"the replica sent a malformed completion chunk: {error!r}") from error


def get_cached_tokens(event: Mapping[str, Any]) -> int:
    """Return the prompt tokens from the prefix cache by an event's usage; 0 without usage."""
    details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


def _parse_tokens(token_ids: Any, logprobs: Any, count: int) -> tuple[OutputToken, ...]:
    return tuple(
        OutputToken(int(token_id), _parse_logprob(logprob), select_top_logprobs(top, count) if count else ())
        for token_id, logprob, top in zip(token_ids, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    )


def _parse_logprob(value: Any) -> float:
    """Parse the log-probability of a token; vLLM sends NaN as null."""
    if value is None or not math.isfinite(value):
        raise NonFiniteLogits
    return float(value)


def select_top_logprobs(top_logprobs: Any, count: int) -> tuple[tuple[int, float], ...]:
    """Return the most probable tokens; vLLM adds the sampled token even if it is not among them."""
    return tuple(sorted(_parse_top_logprobs(top_logprobs).items(), key=lambda each: each[1], reverse=True)[:count])


def _parse_top_logprobs(top_logprobs: Any) -> dict[int, float]:
    return {
        int(name.removeprefix(TOKEN_ID_PREFIX)): float(value)
        for name, value in top_logprobs.items()
        if value is not None and value > MIN_LOGPROB
    }


def parse_next_tokens(response: Mapping[str, Any], num_sequences: int) -> list[dict[int, float]]:
    """Parse a complete response to log-probabilities by token for each sequence.

    Raises:
        ReplicaConnectionError: the response is malformed.
    """
    try:
        choices = sorted(response["choices"], key=lambda choice: choice["index"])
        logprobs = [_parse_top_logprobs(choice["logprobs"]["top_logprobs"][0]) for choice in choices]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ReplicaConnectionError(f"the replica sent a malformed completion response: {error!r}") from error
    if len(logprobs) != num_sequences:
        raise ReplicaConnectionError(f"the replica sent {len(logprobs)} choices for {num_sequences} sequences")
    return logprobs


def parse_error(status: int, body: Any) -> ReplicaStatusError:
    """Parse an error response of vLLM."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ReplicaStatusError(status, "no message")
    code = error.get("code")
    return ReplicaStatusError(code if isinstance(code, int) else status, str(error.get("message") or "no message"))
