"""What a replica says: vLLM's answers and events as tokens with their probabilities. It asks nobody anything."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.engine import End

ENDS = {"stop": End.STOP, "length": End.LENGTH}
TOKEN = "token_id:"
LEAST = -9999.0  # what vLLM says of a token that cannot be


class Lost(Exception):
    """A replica is out of reach, or what it says is no answer."""


class NotFinite(Exception):
    """A replica's logits are not finite, so what it says of tokens are no numbers."""


class Declined(Exception):
    """A replica says that it does not answer.

    Args:
        status: in HTTP's words.
        message: its own.
    """

    def __init__(self, status: int, message: str):
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message

    @property
    def is_about_request(self) -> bool:
        """It would be refused anywhere. A prompt that one replica cannot read another may."""
        return self.status in (400, 422) and not self.is_ours

    @property
    def is_overflow(self) -> bool:
        """Probabilities that are no numbers, which vLLM then cannot write."""
        return "not JSON compliant" in self.message

    @property
    def is_ours(self) -> bool:
        """Softprompt's own guard in the replica said it."""
        return self.message.startswith("softprompt:")


@dataclass(frozen=True)
class Token:
    """A token that was written.

    Attributes:
        id: it.
        logprob: the logarithm of its probability, if that was asked for.
        alternatives: the most probable tokens with theirs, the first one first.
    """

    id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Chunk:
    """What is new of a response.

    Attributes:
        tokens: one or several, or none.
        end: why the last was the last, if it was.
    """

    tokens: tuple[Token, ...]
    end: End | None


async def events(stream: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any]]:
    """The events of a stream up to `[DONE]`.

    Raises:
        Lost: it broke off, or is none.
        Declined: an error stands in it.
    """
    rest = b""
    async for part in stream:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue  # between two events, or a sign of life
            content = line.removeprefix(b"data:").strip()
            if content == b"[DONE]":
                async for _ in stream:
                    pass  # to its end, so that the connection can be used again
                return
            yield _checked(content)
    raise Lost("the stream broke off")


def _checked(content: bytes) -> dict[str, Any]:
    try:
        event = json.loads(content)
    except ValueError as error:
        raise Lost(f"an event is no JSON: {error}") from error
    if not isinstance(event, dict):
        raise Lost("an event is no object")
    if "error" in event:
        raise declined(500, event)
    return event


def chunk(event: Mapping[str, Any], alternatives: int | None) -> Chunk | None:
    """What an event says of a response that is the only one; None if it says nothing.

    Args:
        event: of a stream.
        alternatives: how many were asked for beside each token; None if no probabilities were.

    Raises:
        Lost: it says it in no words that are known.
        NotFinite: a probability that was asked for is no number.
    """
    try:
        if not event["choices"]:
            return None
        [choice] = event["choices"]
        ids, reason = choice["token_ids"] or (), choice["finish_reason"]
        if reason is not None and reason not in ENDS:
            raise Lost(f"the response ended with {reason!r}")
        if alternatives is None:
            tokens = tuple(Token(int(each)) for each in ids)
        else:
            tokens = _with_logprobs(ids, choice["logprobs"], alternatives)
        return Chunk(tokens, None if reason is None else ENDS[reason])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Lost(f"an event is none of a completion: {error!r}") from error


def cached(event: Mapping[str, Any]) -> int:
    """How many of a prompt's tokens were in the prefix cache, as far as an event says it."""
    details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


def _with_logprobs(ids: Any, logprobs: Any, count: int) -> tuple[Token, ...]:
    return tuple(
        Token(int(each), _checked_logprob(own), best(top, count) if count else ())
        for each, own, top in zip(ids, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    )


def _checked_logprob(value: Any) -> float:
    """A token's own; vLLM writes NaN as null in a stream."""
    if value is None or not math.isfinite(value):
        raise NotFinite
    return float(value)


def best(top: Any, count: int) -> tuple[tuple[int, float], ...]:
    """The most probable tokens. vLLM tells the one that was chosen besides, whether it is among them or not."""
    return tuple(sorted(_numbers(top).items(), key=lambda each: each[1], reverse=True)[:count])


def _numbers(top: Any) -> dict[int, float]:
    return {
        int(name.removeprefix(TOKEN)): float(value)
        for name, value in top.items()
        if value is not None and value > LEAST
    }


def next_tokens(answer: Mapping[str, Any], rows: int) -> list[dict[int, float]]:
    """What a whole answer says of the next token of several rows: tokens with their log-probabilities.

    Raises:
        Lost: it is none.
    """
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        found = [_numbers(choice["logprobs"]["top_logprobs"][0]) for choice in choices]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Lost(f"an answer is none of a completion: {error!r}") from error
    if len(found) != rows:
        raise Lost(f"{len(found)} answers came for {rows} texts")
    return found


def declined(status: int, body: Any) -> Declined:
    """An error as vLLM writes it."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return Declined(status, "no reason was given")
    code = error.get("code")
    return Declined(code if isinstance(code, int) else status, str(error.get("message") or "no reason was given"))
