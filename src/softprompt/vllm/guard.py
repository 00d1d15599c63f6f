"""Which requests are refused, looked at once more where nobody can go around it: in vLLM's scheduler.

What vLLM would compute of these is the placeholders' own text, or a text behind something that no prompt says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.errors import SettingError
from softprompt.vllm.asked import PLACEHOLDER, asked_in


@dataclass(frozen=True)
class Arrived:
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

    parameters: object
    tokens: Sequence[int] | None
    reads_all: bool = False
    has_adapter: bool = False
    has_media: bool = False
    goes_on: bool = False


def why_refused(arrived: Arrived) -> str | None:
    """What is wrong with a request, or None."""
    try:
        asked = asked_in(arrived.parameters)
    except SettingError as error:
        return str(error)
    tokens = arrived.tokens
    if asked is None:
        # Nobody writes this token twice in front of a text. Beam search, for one, forgets a request's parameters.
        nameless = tokens is not None and list(tokens[:2]) == [PLACEHOLDER] * 2
        return "it begins with placeholders and names no prompt" if nameless else None
    if tokens is None:
        return "it brings embeddings: a prompt is followed by tokens"
    if len(tokens) <= asked.positions:
        return f"its {len(tokens)} tokens are not more than the prompt's {asked.positions} positions"
    if any(token != PLACEHOLDER for token in tokens[: asked.positions]):
        return f"it does not begin with {asked.positions} placeholders ({PLACEHOLDER})"
    return _not_behind_a_prompt(arrived)


def _not_behind_a_prompt(arrived: Arrived) -> str | None:
    if arrived.reads_all:
        return "it asks for its prompt's log-probabilities, or to leave the prefix cache alone: a prefix has none"
    if arrived.has_adapter:
        return "it names a LoRA as well: the prompt was made for the model without"
    if arrived.has_media:
        return "it holds images or sounds"
    return "it is a session, whose prompt grows" if arrived.goes_on else None
