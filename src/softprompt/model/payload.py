"""What a soft prompt is to a model: embeddings, or the keys and values they leave behind.

Using a prompt knows these two payloads and no method by name. It does not know how they came about.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


class Placement(StrEnum):
    """Where the virtual tokens stand in a row."""

    BEFORE = "before"  # in front of everything, BOS included: what peft can express
    AFTER_BOS = "after-bos"  # BOS, then the virtual tokens, then the text
    AFTER_TEXT = "after-text"  # behind the text, in front of the answer
    IN_TEMPLATE = "in-template"  # where the template's markers [P1], [P2], … stand


def placeholder(virtual_token: int) -> int:
    """The negative id that stands in a row for virtual token `virtual_token`, counted from 0."""
    return -1 - virtual_token


@dataclass(frozen=True)
class Embeddings:
    """Virtual tokens as embeddings. In front of a causal model's text they compile to a `Prefix`; elsewhere they stay.

    Attributes:
        tensor: `[P, E]`.
        placement: where they stand.
    """

    tensor: Float[Tensor, "P E"]
    placement: Placement = Placement.BEFORE

    @property
    def num_virtual_tokens(self) -> int:
        """P."""
        return self.tensor.shape[0]

    def with_tensor(self, tensor: Tensor) -> Embeddings:
        """The same payload around another tensor of the same shape."""
        return replace(self, tensor=tensor)

    @property
    def num_positions(self) -> int:
        """The positions that the virtual tokens add to a row; in a template the row counts them itself."""
        return 0 if self.placement is Placement.IN_TEMPLATE else self.num_virtual_tokens

    def arrange(self, prompt: list[int]) -> list[int]:
        """A row's prompt ids as they meet this payload: with the placeholders of its virtual tokens in their place."""
        virtual = [placeholder(i) for i in range(self.num_virtual_tokens)]
        match self.placement:
            case Placement.BEFORE:
                return [*virtual, *prompt]
            case Placement.AFTER_BOS:
                return [*prompt[:1], *virtual, *prompt[1:]]
            case Placement.AFTER_TEXT:
                return [*prompt, *virtual]
            case Placement.IN_TEMPLATE:
                return prompt


@dataclass(frozen=True, eq=False)
class Ground:
    """What stands in a network's lowest layers and is not trained: what these make of a text behind it never changes.

    Attributes:
        tensor: `[K, 2, G, P, D]`, the keys and values of the K lowest layers.
    """

    tensor: Float[Tensor, "K 2 G P D"]

    @cached_property
    def key(self) -> bytes:
        """Names its content."""
        return hashlib.sha256(self.tensor.detach().float().cpu().numpy().tobytes()).digest()


@dataclass(frozen=True)
class Prefix:
    """Virtual tokens as the keys and values they leave in every layer, keys after the rotary embedding.

    Attributes:
        tensor: `[L, 2, G, P, D]`; the L of an encoder-decoder are the encoder's layers, the decoder's, and those once
            more, for what stands in front of the encoder's output there. On a ground it has so many layers fewer.
        placement: where they stand; never after the text.
        has_bos: the first position is the BOS token's own, so that rows behind this prefix leave theirs out.
        ground: what stands in the layers below, while the others are trained; of causal models only.
        beginning: how many of the ids that all its rows begin with it holds as well, behind the virtual tokens.
    """

    tensor: Float[Tensor, "L 2 G P D"]
    placement: Placement = Placement.BEFORE
    has_bos: bool = False
    ground: Ground | None = None
    beginning: int = 0

    @property
    def num_virtual_tokens(self) -> int:
        """P, without the positions of BOS and of the rows' beginning."""
        return self.num_positions - self.has_bos - self.beginning

    @property
    def num_positions(self) -> int:
        """The positions in front of the rows' own ids that this prefix takes, all that it holds included."""
        return self.tensor.shape[3]

    @property
    def is_complete(self) -> bool:
        """Nothing in front of it has to be computed yet."""
        return self.has_bos or self.placement is not Placement.AFTER_BOS

    def arrange(self, prompt: list[int]) -> list[int]:
        """A row's prompt ids as they meet this payload: without those that the prefix already holds."""
        return prompt[self.has_bos + self.beginning :]

    def with_tensor(self, tensor: Tensor) -> Prefix:
        """The same payload around another tensor of the same shape."""
        return replace(self, tensor=tensor)

    @property
    def first_layer(self) -> int:
        """The lowest layer that is not ground."""
        return 0 if self.ground is None else len(self.ground.tensor)

    def above(self, layer: int) -> Prefix:
        """What stands in the layers from `layer` on, on no ground; from 0 on, that is all of it."""
        if self.ground is None and not layer:
            return self
        ground = [] if self.ground is None else [self.ground.tensor[layer:].to(self.tensor)]
        return replace(self, tensor=torch.cat([*ground, self.tensor[max(layer - self.first_layer, 0) :]]), ground=None)


Payload = Embeddings | Prefix
