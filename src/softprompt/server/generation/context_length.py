"""Check that texts fit in the context with their responses, with an error that names those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from softprompt.server.request_errors import ContextLengthExceeded

MAX_NAMED = 5  # further texts that an error message names


@dataclass(frozen=True)
class SequenceLength:
    """The length of a text with its response.

    Attributes:
        input_name: field of the request that holds the text, such as `input.3`.
        num_prompt_tokens: positions of the soft prompt and the text.
        num_response_tokens: tokens of the response.
        max_tokens: maximum of both together.
    """

    input_name: str
    num_prompt_tokens: int
    num_response_tokens: int
    max_tokens: int

    @property
    def excess(self) -> int:
        """Number of tokens beyond the maximum; at most 0 if the text fits."""
        return self.num_prompt_tokens + self.num_response_tokens - self.max_tokens


def check_context_lengths(sequences: Iterable[SequenceLength], max_model_len: int) -> None:
    """Check the lengths of a request's texts.

    Args:
        sequences: lengths of the texts.
        max_model_len: maximum positions of a sequence, for the message.

    Raises:
        ContextLengthExceeded: a text is too long; `param` is the name of the first text that is too long.
    """
    if too_long := [sequence for sequence in sequences if sequence.excess > 0]:
        raise _create_length_error(too_long, max_model_len)


def _create_length_error(sequences: Sequence[SequenceLength], max_model_len: int) -> ContextLengthExceeded:
    """Create the error with both numbers, in OpenAI's wording."""
    [first, *others] = sequences
    num_tokens = first.num_prompt_tokens + first.num_response_tokens
    message = (
        f"This model's maximum context length is {max_model_len} tokens. However, you requested {num_tokens} tokens in "
        f"'{first.input_name}' ({first.num_prompt_tokens} in the prompt and the text, {first.num_response_tokens} in "
        f"the response), {first.excess} too many. Please reduce the length of either."
    )
    if others:
        message += f" Also too long: {_format_excesses(others)}."
    return ContextLengthExceeded(message, first.input_name)


def _format_excesses(sequences: Sequence[SequenceLength]) -> str:
    excesses = [f"'{sequence.input_name}' by {sequence.excess}" for sequence in sequences[:MAX_NAMED]]
    if num_others := len(sequences) - len(excesses):
        excesses.append(f"{num_others} more")
    return ", ".join(excesses)
