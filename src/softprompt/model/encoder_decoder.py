"""An encoder-decoder: the encoder reads the text, every token seeing all of it, and the decoder writes the answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.model import cache as caches
from softprompt.model.branches import Branches, Hidden, branch_decoder_cache, run_in_parts
from softprompt.model.frozen import Payloads, virtual_tokens
from softprompt.model.lending import ATTENTION, Captured, Lent, standing_by
from softprompt.model.payload import Payload, Placement, Prefix
from softprompt.model.writing import Draft, WritingModel

START = 2**31 - 1
"""Where the decoder begins in a row: an id that no vocabulary reaches. It stands for the decoder's start token."""


@dataclass(frozen=True)
class Side:
    """One side of B rows by itself, padded behind.

    Attributes:
        ids: `[B, T]`.
        mask: `[B, T]`, false at padding.
    """

    ids: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]

    @classmethod
    def of(cls, ids: Int[Tensor, "B T"], chosen: Bool[Tensor, "B T"]) -> Side:
        """The chosen tokens of each row, in their order."""
        first = chosen.long().argsort(dim=1, descending=True, stable=True)[:, : int(chosen.sum(dim=1).max())]
        mask = chosen.gather(1, first)
        return cls(ids.gather(1, first) * mask, mask)


@dataclass(frozen=True)
class Read:
    """What the decoder knows of the rows.

    Attributes:
        states: `[B, T, H]`, what the encoder made of them.
        mask: `[B, T]`, false at padding.
        prefix: `[l, 2, b, G, P, D]`, what is lent to the decoder (b is 1 or B), or None.
        lent: `[B, P]`, which of it each row has.
    """

    states: Float[Tensor, "B T H"]
    mask: Bool[Tensor, "B T"]
    prefix: Float[Tensor, "l 2 b G P D"] | None
    lent: Bool[Tensor, "B P"]

    def of_rows(self, rows: Int[Tensor, "M"]) -> Read:
        """The same of these rows, each as often as it is named."""
        is_shared = self.prefix is None or self.prefix.shape[2] == 1
        prefix = self.prefix if is_shared or self.prefix is None else self.prefix[:, :, rows]
        return Read(self.states[rows], self.mask[rows], prefix, self.lent[rows])


class EncoderDecoderModel(WritingModel):
    """T5, BART and the like.

    A row is the encoder's text with its special tokens, `START`, and what the decoder says: one list of ids, whose
    answer stands behind its text as in any other model. Embeddings stand in the encoder's part (Lester et al. 2021). A
    prefix has its L layers in this order: the encoder's, the decoder's, the decoder's attention to the encoder (Li &
    Liang 2021). Its keys are lent to them and take no positions, so that the decoder begins at its first one.

    Attributes:
        start: the ids that the decoder begins with: its start token, and what the model is made to say first.
    """

    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        network.set_attn_implementation(ATTENTION)
        self.start = _start(network, tokenizer, name)
        self._around = _around(tokenizer)
        super().__init__(network, tokenizer, name)

    def row(self, ids: list[int]) -> list[int]:
        """A text's ids between the tokenizer's special tokens, then the decoder's start."""
        before, behind = self._around
        return [*before, *ids, *behind, START, *self.start[1:]]

    def answers(self, before: str, texts: Sequence[str]) -> list[list[int]]:  # noqa: ARG002
        """Each by itself: the decoder begins with it, whatever the text ends with."""
        return self.tokenize_all([text.lstrip(" ") for text in texts])

    def room_beside(self, answer: int, room: int) -> int:
        """All the room, which is the encoder's, and the decoder's start; none if the decoder has no room itself."""
        fits = len(self.start) + answer <= self.family.window(self.network.config)
        return room + len(self.start) if fits else 0

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        payloads: Payloads = None,
        reads: Bool[Tensor, "B T"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "B T H"]:
        """The last layer's output for each token: the encoder's up to `START`, from there on the decoder's."""
        return self._both_sides(ids, mask, payloads)[0]

    def shares_rows(self, payloads: Payloads) -> bool:  # noqa: ARG002
        """Always: the encoder reads a row once."""
        return True

    def hidden_of_branches(
        self,
        ids: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        payloads: Payloads,
        reads: Bool[Tensor, "B T"],  # noqa: ARG002
        branches: Branches,
    ) -> Hidden:
        """See `FrozenModel`: the decoder goes on in each way behind one beginning and one encoded text."""
        past = EncoderDecoderCache(DynamicCache(), DynamicCache())
        hidden, read = self._both_sides(ids, mask, payloads, past)

        def run(some: Branches) -> Float[Tensor, "m l H"]:
            behind = branch_decoder_cache(past, some.rows, len(self.start))
            return self._say(Side(some.ids, some.mask), read.of_rows(some.rows), behind)

        return hidden, run_in_parts(run, branches, read.mask.shape[1] + branches.ids.shape[1], self.pass_tokens)

    def _both_sides(
        self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], payloads: Payloads, past: Cache | None = None
    ) -> tuple[Float[Tensor, "B T H"], Read]:
        """The last layer's output for each token, and what the decoder knows of the rows; `past` takes what it says."""
        decoders = mask & (ids == START).cumsum(dim=1).bool()
        encoders = mask & ~decoders
        read, said = self._read(Side.of(ids, encoders), payloads), Side.of(ids, decoders)
        states = torch.cat([read.states, self._say(said, read, past)], dim=1) if said.ids.shape[1] else read.states
        at = torch.where(decoders, read.states.shape[1] + decoders.cumsum(dim=1), encoders.cumsum(dim=1)) - 1
        return states.gather(1, at.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])), read

    def draft(self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], payloads: Payloads) -> Draft:
        """The rows, read by the encoder once, and what the decoder begins with, in a cache that grows."""
        decoders = (ids == START).cumsum(dim=1).bool()
        read = self._read(Side.of(ids, mask & ~decoders), payloads)
        return self._drafted(Side.of(ids, mask & decoders), read, EncoderDecoderCache(DynamicCache(), DynamicCache()))

    def _drafted(self, said: Side, read: Read, past: Cache) -> Draft:
        hidden = self._say(said, read, past)[:, -1]

        def extended(tokens: Int[Tensor, "B"]) -> Draft:
            return self._drafted(Side(tokens.unsqueeze(1), said.mask[:, :1]), read, past)

        return Draft(hidden, extended)

    def _read(self, side: Side, payloads: Payloads) -> Read:
        """Run the encoder, each row with its own payload."""
        embeddings = self.embed(side.ids, virtual_tokens(payloads))
        prefix, lent = caches.prefixes(payloads, side.ids.shape[0], self.device)
        if prefix is None:
            return Read(self._encoded(embeddings, side.mask), side.mask, None, lent)
        depth = len(self.family.layers(self.network))
        with standing_by(Lent(prefix[:depth], lent)):
            states = self._encoded(embeddings, side.mask)
        own, cross = prefix[depth:].chunk(2)
        return Read(states, side.mask, torch.stack([own, cross], dim=1).flatten(0, 1), lent)  # as the decoder runs them

    def _say(self, side: Side, read: Read, past: Cache | None = None) -> Float[Tensor, "B T H"]:
        """Run the decoder over tokens behind `past`, which grows by them."""
        embeddings = self.embed(torch.where(side.ids == START, self.start[0], side.ids))
        with _lending(read):
            return self._decoded(embeddings, side.mask, read, past)

    def _encoded(self, embeddings: Float[Tensor, "B T E"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T H"]:
        encoder = self.family.trunk(self.network).get_submodule("encoder")
        states: Tensor = encoder(inputs_embeds=embeddings, attention_mask=mask.long()).last_hidden_state
        return states

    def _decoded(
        self, embeddings: Float[Tensor, "B T E"], mask: Bool[Tensor, "B T"], read: Read, past: Cache | None = None
    ) -> Float[Tensor, "B T H"]:
        decoder = self.family.trunk(self.network).get_submodule("decoder")
        states: Tensor = decoder(
            inputs_embeds=embeddings,
            attention_mask=mask.long() if past is None else None,  # what is being written has no padding
            encoder_hidden_states=read.states,
            encoder_attention_mask=read.mask.long(),
            past_key_values=past,
            use_cache=past is not None,
        ).last_hidden_state
        return states

    def summary(self, ids: Sequence[int]) -> int:
        """All of them: the decoder's start has seen what the encoder read."""
        return len(ids)

    def compile(self, payload: Payload) -> Payload:
        """The payload as it is: embeddings see each row's text.

        Raises:
            SettingError: a prefix behind BOS, which is no place that keys and values have.
        """
        if isinstance(payload, Prefix) and payload.placement is not Placement.BEFORE:
            raise SettingError('every token of an encoder-decoder sees a prefix alike: choose `placement="before"`')
        return payload

    def prefill(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """The keys and values that these embeddings leave when the encoder reads them and the decoder says them.

        One row, with gradient.

        Raises:
            SettingError: they do not fit behind the decoder's start.
            ModelNotSupported: encoder and decoder have heads of different numbers or sizes.
        """
        P = len(embeddings)
        if P + len(self.start) > self.family.window(self.network.config):
            raise SettingError(f"{P} virtual tokens do not fit behind the decoder's start: choose fewer")
        row, mask = embeddings.to(self.dtype).unsqueeze(0), torch.ones(1, P, dtype=torch.bool, device=self.device)
        start = self.embed(torch.tensor([self.start], device=self.device))
        said = torch.cat([start, row], dim=1)
        encoder, decoder = Captured(), Captured()
        with standing_by(encoder):
            read = Read(self._encoded(row, mask), mask, None, mask)
        with standing_by(decoder):
            self._decoded(said, torch.ones_like(said[:, :, 0], dtype=torch.bool), read)
        own, cross = decoder.layers[::2], decoder.layers[1::2]
        layers = [each[:, 0, :, -P:] for each in (*encoder.layers, *own, *cross)]
        if len({each.shape for each in layers}) > 1:
            raise ModelNotSupported(f"the heads of {self.name} are not the same in its encoder and its decoder")
        return torch.stack(layers)

    def first_values(self, ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """The encoder's first layer's values, `[N, G·D]`, of tokens each by itself."""
        captured = Captured()
        with standing_by(captured):
            self._encoded(self.embed(ids.unsqueeze(1)), torch.ones(len(ids), 1, dtype=torch.bool, device=self.device))
        return captured.layers[0][1].flatten(1).float()

    def checkpoint_gradients(self) -> None:
        """Refused: a layer that runs twice would meet the prefix twice.

        Raises:
            SettingError: always.
        """
        raise SettingError("gradient checkpointing is for causal models: leave it out with an encoder-decoder")


def _lending(read: Read) -> AbstractContextManager[None]:
    return nullcontext() if read.prefix is None else standing_by(Lent(read.prefix, read.lent))


def _start(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> list[int]:
    """The ids that the decoder begins with.

    BART says `<s>` first, as in all it was trained on; mBART a language that the checkpoint may name.
    """
    first = network.config.decoder_start_token_id
    if first is None:
        raise ModelNotSupported(f"the configuration of {name} does not say what its decoder begins with")
    forced = network.generation_config.forced_bos_token_id
    leading = tokenizer.bos_token_id if tokenizer("a").input_ids[0] == tokenizer.bos_token_id else None
    said = leading if forced is None else forced
    return [first] if said is None else [first, said]


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts in front of a text and behind it."""
    ids, text = tokenizer("a").input_ids, tokenizer("a", add_special_tokens=False).input_ids
    at = next(i for i in range(len(ids)) if ids[i : i + len(text)] == text)
    return ids[:at], ids[at + len(text) :]
