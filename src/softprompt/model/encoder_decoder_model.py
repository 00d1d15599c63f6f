"""Encoder-decoders: the encoder reads the text, and the decoder generates the answer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.model.bidirectional_model import BidirectionalModel
from softprompt.model.branches import BranchedHiddenStates, SequenceBranches, run_in_micro_batches
from softprompt.model.encoder_decoder_batch import EncoderOutput, RightPaddedTokens
from softprompt.model.family import resolve_family
from softprompt.model.generative_model import DecodingState, GenerativeModel
from softprompt.model.hooks.branch_cache import make_branch_decoder_cache
from softprompt.model.hooks.prefix_attention import KVRecorder, PrefixInjector, install_attention_hook
from softprompt.model.payload_batch import BatchPayloads, batch_prefixes, stack_virtual_tokens
from softprompt.model.prompt_tokenizer import DECODER_START, EncoderDecoderPromptTokenizer


class EncoderDecoderModel(BidirectionalModel, GenerativeModel):
    """An encoder-decoder such as T5 or BART.

    A sequence is one list of ids: the encoder's text with its special tokens, `DECODER_START`, the decoder's tokens.
    Prompt embeddings are part of the encoder's input (Lester et al. 2021). The L layers of a KV prefix are the
    encoder's, the decoder's self-attention, and the decoder's cross-attention (Li & Liang 2021). A prefix takes no
    positions, so the decoder begins at its first position.
    """

    prompt_tokenizer: EncoderDecoderPromptTokenizer

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
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
        hidden, encoded = self._forward_both_sides(input_ids, attention_mask, payloads, past)
        shared_length = len(self.prompt_tokenizer.decoder_prompt_ids)

        def run_branches(chunk: SequenceBranches) -> Float[Tensor, "m l H"]:
            cache = make_branch_decoder_cache(past, chunk.parent_indices, shared_length)
            tokens = RightPaddedTokens(chunk.input_ids, chunk.attention_mask)
            return self._decode(tokens, encoded.select_sequences(chunk.parent_indices), cache)

        num_positions = encoded.attention_mask.shape[1] + branches.input_ids.shape[1]
        return hidden, run_in_micro_batches(run_branches, branches, num_positions, self.forward_budget.max_tokens)

    def start_decoding(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], payloads: BatchPayloads
    ) -> DecodingState:
        """Run the encoder, and the decoder's first ids into a growing cache."""
        decoders = (input_ids == DECODER_START).cumsum(dim=1).bool()
        encoded = self._encode(RightPaddedTokens.from_selection(input_ids, attention_mask & ~decoders), payloads)
        decoder_tokens = RightPaddedTokens.from_selection(input_ids, attention_mask & decoders)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return self._make_decoding_state(decoder_tokens, encoded, cache)

    def _make_decoding_state(
        self, decoder_tokens: RightPaddedTokens, encoder_output: EncoderOutput, past_key_values: Cache
    ) -> DecodingState:
        hidden = self._decode(decoder_tokens, encoder_output, past_key_values)[:, -1]

        def append_tokens(token_ids: Int[Tensor, "B"]) -> DecodingState:
            tokens = RightPaddedTokens(token_ids.unsqueeze(1), decoder_tokens.attention_mask[:, :1])
            return self._make_decoding_state(tokens, encoder_output, past_key_values)

        return DecodingState(hidden, append_tokens)

    def _encode(self, tokens: RightPaddedTokens, payloads: BatchPayloads) -> EncoderOutput:
        """Run the encoder, each sequence with its payload."""
        embeddings = self.embed_tokens(tokens.input_ids, stack_virtual_tokens(payloads))
        prefix, prefix_mask = batch_prefixes(payloads, tokens.input_ids.shape[0], self.device)
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
        start_token_id = self.prompt_tokenizer.decoder_prompt_ids[0]
        embeddings = self.embed_tokens(torch.where(tokens.input_ids == DECODER_START, start_token_id, tokens.input_ids))
        with _inject_decoder_prefix(encoder_output):
            return self._run_decoder(embeddings, tokens.attention_mask, encoder_output, past_key_values)

    def _run_encoder(
        self, inputs_embeds: Float[Tensor, "B T E"], attention_mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T H"]:
        encoder = self._get_side("encoder")
        states: Tensor = encoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask.long()).last_hidden_state
        return states

    def _run_decoder(
        self,
        inputs_embeds: Float[Tensor, "B T E"],
        attention_mask: Bool[Tensor, "B T"],
        encoder_output: EncoderOutput,
        past_key_values: Cache | None = None,
    ) -> Float[Tensor, "B T H"]:
        # With a cache, tokens are generated one by one and have no padding.
        mask = attention_mask.long() if past_key_values is None else None
        states: Tensor = self._get_side("decoder")(
            inputs_embeds=inputs_embeds,
            attention_mask=mask,
            encoder_hidden_states=encoder_output.hidden_states,
            encoder_attention_mask=encoder_output.attention_mask.long(),
            past_key_values=past_key_values,
            use_cache=past_key_values is not None,
        ).last_hidden_state
        return states

    def _get_side(self, name: str) -> nn.Module:
        return self.family.get_backbone(self.network).get_submodule(name)

    def compute_kv(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """Compute the keys and values of these embeddings as input of both encoder and decoder, with gradient.

        Raises:
            SettingError: the embeddings do not fit into the decoder.
            ModelNotSupported: encoder and decoder differ in number or size of heads.
        """
        P = len(embeddings)
        decoder_prompt_ids = self.prompt_tokenizer.decoder_prompt_ids
        if P + len(decoder_prompt_ids) > self._max_decoder_length:
            raise SettingError(f"{P} virtual tokens do not fit after the decoder's start: choose fewer")
        inputs = embeddings.to(self.dtype).unsqueeze(0)
        states, encoder = self._record_encoder_kv(inputs)
        mask = torch.ones(1, P, dtype=torch.bool, device=self.device)
        start = self.embed_tokens(torch.tensor([decoder_prompt_ids], device=self.device))
        decoder_inputs = torch.cat([start, inputs], dim=1)
        decoder_mask = torch.ones_like(decoder_inputs[:, :, 0], dtype=torch.bool)
        decoder = KVRecorder()
        with install_attention_hook(decoder):
            self._run_decoder(decoder_inputs, decoder_mask, EncoderOutput(states, mask, None, mask))
        own, cross = decoder.layer_kv[::2], decoder.layer_kv[1::2]
        layers = [layer[:, 0, :, -P:] for layer in (*encoder.layer_kv, *own, *cross)]
        if len({layer.shape for layer in layers}) > 1:
            raise ModelNotSupported(f"the heads of {self.name} are not the same in its encoder and its decoder")
        return torch.stack(layers)


def _inject_decoder_prefix(encoder_output: EncoderOutput) -> AbstractContextManager[None]:
    if encoder_output.decoder_prefix is None:
        return nullcontext()
    return install_attention_hook(PrefixInjector(encoder_output.decoder_prefix, encoder_output.prefix_mask))


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
