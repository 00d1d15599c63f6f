"""A tokenized text with its prompt."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.model import KVPrefix, Payload
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.tasks import EncodedExample
from softprompt.tasks.collation import apply_payload


@dataclass(frozen=True)
class TokenizedPrompt:
    """A tokenized text, ready for generation.

    Attributes:
        token_ids: token ids of the sequence; negative ids are virtual tokens.
        num_prefix_positions: positions of the KV prefix in front of the sequence.
        payload: payload of the soft prompt; None for the base model.
        prompt_digest: digest of the soft prompt; empty for the base model.
        has_template: whether the response is an answer to a template instead of a continuation of the text.
    """

    token_ids: tuple[int, ...]
    num_prefix_positions: int
    payload: Payload | None
    prompt_digest: str
    has_template: bool

    @classmethod
    def from_example(
        cls, example: EncodedExample, loaded_prompt: LoadedPrompt | None, *, has_template: bool
    ) -> TokenizedPrompt:
        """Create a tokenized prompt from an encoded example."""
        payload = None if loaded_prompt is None else loaded_prompt.payload
        num_prefix_positions = payload.num_positions if isinstance(payload, KVPrefix) else 0
        digest = "" if loaded_prompt is None else loaded_prompt.digest
        return cls(tuple(apply_payload(example, payload)[0]), num_prefix_positions, payload, digest, has_template)

    @property
    def num_text_tokens(self) -> int:
        """Number of text tokens, without virtual tokens and without the positions of a compiled prompt."""
        return self.count_text_tokens(len(self.token_ids))

    def count_text_tokens(self, count: int) -> int:
        """Count the text tokens among the first `count` tokens."""
        return sum(token >= 0 for token in self.token_ids[:count])

    @property
    def num_positions(self) -> int:
        """Positions of the sequence, with its prefix."""
        return self.num_prefix_positions + len(self.token_ids)
