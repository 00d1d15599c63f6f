"""Payloads: the two forms in which a model takes a soft prompt, prompt embeddings and KV prefixes.

Code that uses a prompt knows these two payloads, and no tuning method by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.placement import Placement as Placement


def get_placeholder_id(index: int) -> int:
    """Return the negative token id that stands for the virtual token with this index."""
    return -1 - index


@dataclass(frozen=True)
class PromptEmbeddings:
    """Prompt embeddings: one vector per virtual token.

    In front of a causal model's text they compile to a `KVPrefix`; elsewhere they are run with every sequence.

    Attributes:
        tensor: embeddings `[P, E]`.
        placement: position of the virtual tokens in a sequence.
    """

    tensor: Float[Tensor, "P E"]
    placement: Placement = Placement.BEFORE

    @property
    def num_virtual_tokens(self) -> int:
        """Number of virtual tokens, P."""
        return self.tensor.shape[0]

    def with_tensor(self, tensor: Tensor) -> PromptEmbeddings:
        """Return a copy with another tensor of the same shape."""
        return replace(self, tensor=tensor)

    @property
    def num_positions(self) -> int:
        """Number of positions that are added to a sequence; 0 in a template, whose ids contain the placeholders."""
        return 0 if self.placement is Placement.IN_TEMPLATE else self.num_virtual_tokens

    def apply_to_prompt(self, prompt_ids: list[int]) -> list[int]:
        """Insert the placeholder ids of the virtual tokens into the ids of a prompt."""
        virtual = [get_placeholder_id(i) for i in range(self.num_virtual_tokens)]
        match self.placement:
            case Placement.BEFORE:
                return [*virtual, *prompt_ids]
            case Placement.AFTER_BOS:
                return [*prompt_ids[:1], *virtual, *prompt_ids[1:]]
            case Placement.AFTER_TEXT:
                return [*prompt_ids, *virtual]
            case Placement.IN_TEMPLATE:
                return prompt_ids


@dataclass(frozen=True, eq=False)
class FrozenPrefix:
    """Keys and values of the lowest K layers of a prefix, which keep their initial values.

    The hidden states that these layers compute for a text are constant during training and can therefore be cached.

    Attributes:
        tensor: keys and values `[K, 2, G, P, D]`.
    """

    tensor: Float[Tensor, "K 2 G P D"]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the content."""
        return hashlib.sha256(self.tensor.detach().float().cpu().numpy().tobytes()).digest()


@dataclass(frozen=True)
class KVPrefix:
    """A KV prefix: keys and values of virtual tokens in every layer, keys after the rotary embedding.

    Attributes:
        tensor: `[L, 2, G, P, D]`. Layers of an encoder-decoder: the encoder's, the decoder's self-attention, the
            decoder's cross-attention. With a frozen prefix, only the layers above it.
        placement: position of the virtual tokens in a sequence; never after the text.
        has_bos: whether the first position is the BOS token, so that sequences omit their own.
        frozen_prefix: keys and values of the lowest layers, which are not trained; causal models only.
        num_shared_tokens: number of tokens, common to all sequences, whose keys and values follow the virtual tokens.
    """

    tensor: Float[Tensor, "L 2 G P D"]
    placement: Placement = Placement.BEFORE
    has_bos: bool = False
    frozen_prefix: FrozenPrefix | None = None
    num_shared_tokens: int = 0

    @property
    def num_virtual_tokens(self) -> int:
        """Number of virtual tokens, P, without BOS and shared tokens."""
        return self.num_positions - self.has_bos - self.num_shared_tokens

    @property
    def num_positions(self) -> int:
        """Number of positions that the prefix takes, BOS and shared tokens included."""
        return self.tensor.shape[3]

    @property
    def is_complete(self) -> bool:
        """Whether the BOS token that must precede the virtual tokens is included, or none is needed."""
        return self.has_bos or self.placement is not Placement.AFTER_BOS

    def apply_to_prompt(self, prompt_ids: list[int]) -> list[int]:
        """Remove the ids that the prefix already contains from the ids of a prompt."""
        return prompt_ids[self.has_bos + self.num_shared_tokens :]

    def with_tensor(self, tensor: Tensor) -> KVPrefix:
        """Return a copy with another tensor of the same shape."""
        return replace(self, tensor=tensor)

    @property
    def first_layer(self) -> int:
        """Index of the lowest layer that is not frozen."""
        return 0 if self.frozen_prefix is None else len(self.frozen_prefix.tensor)

    def slice_from_layer(self, first_layer: int) -> KVPrefix:
        """Return the prefix of the layers from `first_layer` on, frozen ones included, without a frozen prefix."""
        if self.frozen_prefix is None and not first_layer:
            return self
        frozen = [] if self.frozen_prefix is None else [self.frozen_prefix.tensor[first_layer:].to(self.tensor)]
        return replace(
            self, tensor=torch.cat([*frozen, self.tensor[max(first_layer - self.first_layer, 0) :]]), frozen_prefix=None
        )


Payload = PromptEmbeddings | KVPrefix
