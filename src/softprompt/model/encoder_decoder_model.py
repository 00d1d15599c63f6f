"""Encoder-decoders: the encoder reads the text, and the decoder generates the answer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.model.branches import (
    BranchedHiddenStates,
    SequenceBranches,
    make_branch_decoder_cache,
    run_in_micro_batches,
)
from softprompt.model.family import resolve_family
from softprompt.model.frozen_model import BatchPayloads, stack_virtual_tokens
from softprompt.model.generative_model import DecodingState, GenerativeModel
from softprompt.model.hooks import cache_layers
from softprompt.model.hooks.prefix_attention import (
    ATTN_IMPLEMENTATION,
    KVRecorder,
    PrefixInjector,
    install_attention_hook,
)
from softprompt.model.payload import KVPrefix, Payload, Placement
from softprompt.model.prompt_tokenizer import DECODER_START, EncoderDecoderPromptTokenizer


@dataclass(frozen=True)
class RightPaddedTokens:
    """The encoder's or the decoder's tokens of a batch, right-padded.

    Attributes:
        input_ids: token ids `[B, T]`.
        attention_mask: `[B, T]`, False at padding.
    """

    input_ids: Int[Tensor, "B T"]
    attention_mask: Bool[Tensor, "B T"]

    @classmethod
    def from_selection(cls, input_ids: Int[Tensor, "B T"], selected: Bool[Tensor, "B T"]) -> RightPaddedTokens:
        """Take the selected tokens of each sequence, in their order."""
        first = selected.long().argsort(dim=1, descending=True, stable=True)[:, : int(selected.sum(dim=1).max())]
        mask = selected.gather(1, first)
        return cls(input_ids.gather(1, first) * mask, mask)


@dataclass(frozen=True)
class EncoderOutput:
    """The encoder's output and the decoder's prefix.

    Attributes:
        hidden_states: `[B, T, H]`, output of the encoder.
        attention_mask: `[B, T]`, False at padding.
        decoder_prefix: `[l, 2, b, G, P, D]`, keys and values for the decoder (b is 1 or B), or None.
        prefix_mask: `[B, P]`, which prefix positions each sequence attends to.
    """

    hidden_states: Float[Tensor, "B T H"]
    attention_mask: Bool[Tensor, "B T"]
    decoder_prefix: Float[Tensor, "l 2 b G P D"] | None
    prefix_mask: Bool[Tensor, "B P"]

    def select_sequences(self, indices: Int[Tensor, "M"]) -> EncoderOutput:
        """Select sequences by index; an index may occur several times."""
        is_shared = self.decoder_prefix is None or self.decoder_prefix.shape[2] == 1
        prefix = self.decoder_prefix if is_shared or self.decoder_prefix is None else self.decoder_prefix[:, :, indices]
        return EncoderOutput(
            self.hidden_states[indices], self.attention_mask[indices], prefix, self.prefix_mask[indices]
        )


class EncoderDecoderModel(GenerativeModel):
    """An encoder-decoder such as T5 or BART.

    A sequence is one list of ids: the encoder's text with its special tokens, `DECODER_START`, the decoder's tokens.
    Prompt embeddings are part of the encoder's input (Lester et al. 2021). The L layers of a KV prefix are the
    encoder's, the decoder's self-attention, and the decoder's cross-attention (Li & Liang 2021). A prefix takes no
    positions, so the decoder begins at its first position.
    """

    prompt_tokenizer: EncoderDecoderPromptTokenizer
    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        network.set_attn_implementation(ATTN_IMPLEMENTATION)
        self._max_decoder_length = resolve_family(network.config).get_max_positions(network.config)
        decoder_prompt_ids = _find_decoder_prompt_ids(network, tokenizer, name)
        super().__init__(
            network, EncoderDecoderPromptTokenizer(tokenizer, decoder_prompt_ids, self._max_decoder_length), name
        )

    def compute_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads = None,
        output_mask: Bool[Tensor, "B T"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "B T H"]:
        """Compute the encoder's output up to `DECODER_START`, and the decoder's output from there on."""
        return self._forward_both_sides(input_ids, attention_mask, payloads)[0]

    def supports_branches(self, payloads: BatchPayloads) -> bool:  # noqa: ARG002
        """Return True: the encoder reads each sequence once."""
        return True

    def compute_branched_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads,
        output_mask: Bool[Tensor, "B T"],  # noqa: ARG002
        branches: SequenceBranches,
    ) -> BranchedHiddenStates:
        """See `FrozenModel`: all branches share the encoder's output and the first ids of the decoder."""
        past = EncoderDecoderCache(DynamicCache(), DynamicCache())
        hidden, read = self._forward_both_sides(input_ids, attention_mask, payloads, past)

        def run_branches(chunk: SequenceBranches) -> Float[Tensor, "m l H"]:
            behind = make_branch_decoder_cache(
                past, chunk.parent_indices, len(self.prompt_tokenizer.decoder_prompt_ids)
            )
            return self._decode(
                RightPaddedTokens(chunk.input_ids, chunk.attention_mask),
                read.select_sequences(chunk.parent_indices),
                behind,
            )

        return hidden, run_in_micro_batches(
            run_branches,
            branches,
            read.attention_mask.shape[1] + branches.input_ids.shape[1],
            self.forward_budget.max_tokens,
        )

    def _forward_both_sides(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads,
        past_key_values: Cache | None = None,
    ) -> tuple[Float[Tensor, "B T H"], EncoderOutput]:
        """Run encoder and decoder; the decoder's keys and values are added to `past_key_values`."""
        decoders = attention_mask & (input_ids == DECODER_START).cumsum(dim=1).bool()
        encoders = attention_mask & ~decoders
        encoded = self._encode(RightPaddedTokens.from_selection(input_ids, encoders), payloads)
        states, decoder_tokens = encoded.hidden_states, RightPaddedTokens.from_selection(input_ids, decoders)
        num_encoded = states.shape[1]
        if decoder_tokens.input_ids.shape[1]:
            states = torch.cat([states, self._decode(decoder_tokens, encoded, past_key_values)], dim=1)
        index = torch.where(decoders, num_encoded + decoders.cumsum(dim=1), encoders.cumsum(dim=1)) - 1
        return states.gather(1, index.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])), encoded

    def start_decoding(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], payloads: BatchPayloads
    ) -> DecodingState:
        """Run the encoder, and the decoder's first ids into a growing cache."""
        decoders = (input_ids == DECODER_START).cumsum(dim=1).bool()
        read = self._encode(RightPaddedTokens.from_selection(input_ids, attention_mask & ~decoders), payloads)
        return self._make_decoding_state(
            RightPaddedTokens.from_selection(input_ids, attention_mask & decoders),
            read,
            EncoderDecoderCache(DynamicCache(), DynamicCache()),
        )

    def _make_decoding_state(
        self, decoder_tokens: RightPaddedTokens, encoder_output: EncoderOutput, past_key_values: Cache
    ) -> DecodingState:
        hidden = self._decode(decoder_tokens, encoder_output, past_key_values)[:, -1]

        def append_tokens(token_ids: Int[Tensor, "B"]) -> DecodingState:
            return self._make_decoding_state(
                RightPaddedTokens(token_ids.unsqueeze(1), decoder_tokens.attention_mask[:, :1]),
                encoder_output,
                past_key_values,
            )

        return DecodingState(hidden, append_tokens)

    def _encode(self, tokens: RightPaddedTokens, payloads: BatchPayloads) -> EncoderOutput:
        """Run the encoder, each sequence with its payload."""
        embeddings = self.embed_tokens(tokens.input_ids, stack_virtual_tokens(payloads))
        prefix, prefix_mask = cache_layers.batch_prefixes(payloads, tokens.input_ids.shape[0], self.device)
        if prefix is None:
            states = self._run_encoder(embeddings, tokens.attention_mask)
            return EncoderOutput(states, tokens.attention_mask, None, prefix_mask)
        depth = len(self.family.get_layers(self.network))
        with install_attention_hook(PrefixInjector(prefix[:depth], prefix_mask)):
            states = self._run_encoder(embeddings, tokens.attention_mask)
        own, cross = prefix[depth:].chunk(2)
        decoder_prefix = torch.stack([own, cross], dim=1).flatten(0, 1)  # in the order of the decoder's attentions
        return EncoderOutput(states, tokens.attention_mask, decoder_prefix, prefix_mask)

    def _decode(
        self, tokens: RightPaddedTokens, encoder_output: EncoderOutput, past_key_values: Cache | None = None
    ) -> Float[Tensor, "B T H"]:
        """Run the decoder on tokens that follow `past_key_values`, which grows by them."""
        embeddings = self.embed_tokens(
            torch.where(
                tokens.input_ids == DECODER_START, self.prompt_tokenizer.decoder_prompt_ids[0], tokens.input_ids
            )
        )
        with _inject_decoder_prefix(encoder_output):
            return self._run_decoder(embeddings, tokens.attention_mask, encoder_output, past_key_values)

    def _run_encoder(
        self, inputs_embeds: Float[Tensor, "B T E"], attention_mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T H"]:
        encoder = self.family.get_backbone(self.network).get_submodule("encoder")
        states: Tensor = encoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask.long()).last_hidden_state
        return states

    def _run_decoder(
        self,
        inputs_embeds: Float[Tensor, "B T E"],
        attention_mask: Bool[Tensor, "B T"],
        encoder_output: EncoderOutput,
        past_key_values: Cache | None = None,
    ) -> Float[Tensor, "B T H"]:
        decoder = self.family.get_backbone(self.network).get_submodule("decoder")
        states: Tensor = decoder(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask.long()
            if past_key_values is None
            else None,  # what is being written has no padding
            encoder_hidden_states=encoder_output.hidden_states,
            encoder_attention_mask=encoder_output.attention_mask.long(),
            past_key_values=past_key_values,
            use_cache=past_key_values is not None,
        ).last_hidden_state
        return states

    def compile(self, payload: Payload) -> Payload:
        """Return the payload unchanged: embeddings attend to the text of each sequence.

        Raises:
            SettingError: a KV prefix is not placed before the sequence.
        """
        if isinstance(payload, KVPrefix) and payload.placement is not Placement.BEFORE:
            raise SettingError('encoder-decoders support KV prefixes only with `placement="before"`')
        return payload

    def compute_kv(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """Compute the keys and values of these embeddings as input of both encoder and decoder, with gradient.

        Raises:
            SettingError: the embeddings do not fit into the decoder.
            ModelNotSupported: encoder and decoder differ in number or size of heads.
        """
        P = len(embeddings)
        if P + len(self.prompt_tokenizer.decoder_prompt_ids) > self._max_decoder_length:
            raise SettingError(f"{P} virtual tokens do not fit behind the decoder's start: choose fewer")
        row, mask = embeddings.to(self.dtype).unsqueeze(0), torch.ones(1, P, dtype=torch.bool, device=self.device)
        start = self.embed_tokens(torch.tensor([self.prompt_tokenizer.decoder_prompt_ids], device=self.device))
        decoder_inputs = torch.cat([start, row], dim=1)
        encoder, decoder = KVRecorder(), KVRecorder()
        with install_attention_hook(encoder):
            encoded = EncoderOutput(self._run_encoder(row, mask), mask, None, mask)
        with install_attention_hook(decoder):
            self._run_decoder(decoder_inputs, torch.ones_like(decoder_inputs[:, :, 0], dtype=torch.bool), encoded)
        own, cross = decoder.layer_kv[::2], decoder.layer_kv[1::2]
        layers = [each[:, 0, :, -P:] for each in (*encoder.layer_kv, *own, *cross)]
        if len({each.shape for each in layers}) > 1:
            raise ModelNotSupported(f"the heads of {self.name} are not the same in its encoder and its decoder")
        return torch.stack(layers)

    def compute_first_layer_values(self, token_ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """Compute the encoder's first layer's values, `[N, G·D]`, of N separate tokens."""
        captured = KVRecorder()
        with install_attention_hook(captured):
            self._run_encoder(
                self.embed_tokens(token_ids.unsqueeze(1)),
                torch.ones(len(token_ids), 1, dtype=torch.bool, device=self.device),
            )
        return captured.layer_kv[0][1].flatten(1).float()

    def enable_gradient_checkpointing(self) -> None:
        """Raise an error: a layer that runs twice would get the prefix twice.

        Raises:
            SettingError: always.
        """
        raise SettingError("gradient checkpointing is for causal models: train an encoder-decoder without it")


def _inject_decoder_prefix(encoder_output: EncoderOutput) -> AbstractContextManager[None]:
    return (
        nullcontext()
        if encoder_output.decoder_prefix is None
        else install_attention_hook(PrefixInjector(encoder_output.decoder_prefix, encoder_output.prefix_mask))
    )


def _find_decoder_prompt_ids(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> list[int]:
    """Return the ids that the decoder begins with.

    BART generates `<s>` first, as in its training; mBART may force a language token.
    """
    first = network.config.decoder_start_token_id
    if first is None:
        raise ModelNotSupported(f"the configuration of {name} does not say what its decoder begins with")
    forced = network.generation_config.forced_bos_token_id
    leading = tokenizer.bos_token_id if tokenizer("a").input_ids[0] == tokenizer.bos_token_id else None
    second = leading if forced is None else forced
    return [first] if second is None else [first, second]
