"""Causal models: tokens attend only to earlier tokens, so a prompt before the text can be compiled once."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from softprompt.errors import SettingError
from softprompt.model.branches import BranchedHiddenStates, SequenceBranches, make_branch_cache, run_in_micro_batches
from softprompt.model.family import get_sliding_window, resolve_family
from softprompt.model.frozen_model import BatchPayloads, stack_virtual_tokens
from softprompt.model.generative_model import DecodingState, GenerativeModel
from softprompt.model.hidden_state_cache import HiddenStateCache, TensorStore
from softprompt.model.hooks import cache_layers
from softprompt.model.hooks.cache_layers import (
    CapturingCacheLayer,
    PastState,
    PrefixCapturingCacheLayer,
    StopForward,
    StoppingCacheLayer,
)
from softprompt.model.hooks.layer_range import LayerRangeEnd, view_layer_range
from softprompt.model.hooks.packed_layers import PackedLinear, can_pack_weights, move_to_huge_pages, pack_layers
from softprompt.model.hooks.sparse_last_layer import select_output_positions
from softprompt.model.payload import FrozenPrefix, KVPrefix, Payload, Placement, PromptEmbeddings
from softprompt.model.prompt_tokenizer import CausalPromptTokenizer

MASK_BASED_ATTENTION = ("eager", "sdpa")  # take the visibility pattern as a mask; flash attention does not


class CausalModel(GenerativeModel):
    """A causal model such as Llama, GPT-2 or BLOOM."""

    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.AFTER_TEXT, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        self._hidden_state_cache: HiddenStateCache | None = None
        self._packed_lm_head: PackedLinear | None = None
        self._prunes_last_layer = network.config._attn_implementation in MASK_BASED_ATTENTION
        self._runs_layers_once = True
        has_sliding_window = get_sliding_window(network.config) is not None
        self._attention_span = (  # set before `super().__init__`, which runs the network
            resolve_family(network.config).get_max_positions(network.config) if has_sliding_window else None
        )
        super().__init__(network, CausalPromptTokenizer(tokenizer), name)

    def compute_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads = None,
        output_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """Compute the last layer's output: see `FrozenModel.compute_hidden_states`."""
        return self.forward_with_past(
            input_ids, attention_mask, self.make_past_state(payloads, input_ids.shape[0]), output_mask
        )

    def supports_branches(self, payloads: BatchPayloads) -> bool:
        """Return False if a layer may run twice, or if hidden states of the lower layers are looked up."""
        payload_list = payloads if isinstance(payloads, Sequence) else [payloads]
        uses_hidden_state_cache = self._hidden_state_cache is not None and any(
            isinstance(p, KVPrefix) and p.frozen_prefix is not None for p in payload_list
        )
        return self._runs_layers_once and not uses_hidden_state_cache

    def compute_branched_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads,
        output_mask: Bool[Tensor, "B T"],
        branches: SequenceBranches,
    ) -> BranchedHiddenStates:
        """See `FrozenModel`: continuations read the keys and values of their sequence, some of them at a time."""
        past = self.make_past_state(payloads, input_ids.shape[0], growable=True)
        hidden = self.forward_with_past(input_ids, attention_mask, past, output_mask)
        extended = past.extend_mask(attention_mask)

        def run_branches(chunk: SequenceBranches) -> Float[Tensor, "m l H"]:
            assert extended.kv_cache is not None
            branch_past = PastState(
                make_branch_cache(extended.kv_cache, chunk.parent_indices),
                extended.attention_mask[chunk.parent_indices],
            )
            return self._forward_layers(branch_past, self.embed_tokens(chunk.input_ids), chunk.attention_mask)

        return hidden, run_in_micro_batches(
            run_branches,
            branches,
            extended.attention_mask.shape[1] + branches.input_ids.shape[1],
            self.forward_budget.max_tokens,
        )

    def forward_with_past(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        past: PastState,
        output_mask: Bool[Tensor, "B T"] | None = None,
        inputs_embeds: Float[Tensor, "B T E"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """Compute the last layer's output for tokens that follow `past`; a growing cache grows by T positions.

        Args:
            input_ids: token ids, negative ones for virtual tokens.
            attention_mask: False at padding.
            past: state to continue from.
            output_mask: True at tokens whose output is needed; None for all.
            inputs_embeds: embeddings of `input_ids`, if the caller has computed them.
        """
        hidden_states = (
            self._hidden_state_cache.get_hidden_states(
                input_ids, attention_mask, past.frozen_prefixes, self._run_frozen_layers
            )
            if self._hidden_state_cache and past.frozen_prefixes
            else None
        )
        prunes = output_mask is not None and self._prunes_last_layer
        output_positions = select_output_positions(output_mask) if prunes and output_mask is not None else None
        inputs_embeds = (
            self.embed_tokens(input_ids, past.virtual_embeddings) if inputs_embeds is None else inputs_embeds
        )
        return self._forward_layers(
            past, inputs_embeds, attention_mask, hidden_states, output_positions=output_positions
        )

    def with_hidden_state_cache(self, store: TensorStore) -> CausalModel:
        """Return a copy of the model that caches the hidden states of layers with a frozen prefix."""
        model = copy.copy(self)
        model._hidden_state_cache = HiddenStateCache(
            store, f"{self.fingerprint} {self.precision} {_compute_config_digest(self.network)}"
        )
        return model

    def _run_frozen_layers(self, input_ids: Int[Tensor, "1 T"], frozen_prefix: FrozenPrefix) -> Float[Tensor, "1 T H"]:
        """Compute the hidden states of one text above the layers of a frozen prefix."""
        mask = torch.ones_like(input_ids, dtype=torch.bool)
        with torch.no_grad():
            past = self._make_past_from_layer(KVPrefix(frozen_prefix.tensor), 1)
            return self._forward_layers(past, self.embed_tokens(input_ids), mask, end_layer=len(frozen_prefix.tensor))

    def _forward_layers(
        self,
        past: PastState,
        inputs_embeds: Float[Tensor, "B T E"],
        attention_mask: Bool[Tensor, "B T"],
        hidden_states: Float[Tensor, "B T H"] | None = None,
        end_layer: int | None = None,
        output_positions: Int[Tensor, "B R"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """Run the layers from `past.first_layer` up to, and excluding, `end_layer`.

        Args:
            past: state that precedes the tokens.
            inputs_embeds: embeddings of the tokens.
            attention_mask: False at padding.
            hidden_states: output of the layer below `past.first_layer`; None if that is the lowest layer.
            end_layer: layer to stop before; None to run to the end.
            output_positions: indices of the tokens to run the last layer for; None for all.
        """
        self._check_attention_span(past.attention_mask.shape[1] + attention_mask.shape[1])
        positions = (past.lengths.unsqueeze(1) + attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        backbone, layers = self.family.get_backbone(self.network), self.family.get_layers(self.network)
        if past.first_layer or end_layer is not None or output_positions is not None:
            backbone = view_layer_range(
                backbone,
                layers,
                past.first_layer,
                end_layer or len(layers),
                hidden_states,
                self.family.layers_return_tuples,
                output_positions,
            )
        try:
            output: Tensor = backbone(
                inputs_embeds=inputs_embeds,
                attention_mask=torch.cat([past.attention_mask, attention_mask], dim=1).long(),
                past_key_values=past.kv_cache,
                use_cache=past.kv_cache is not None,
                **({"position_ids": positions} if self.family.uses_position_ids(self.network.config) else {}),
            ).last_hidden_state
        except LayerRangeEnd as end:
            return end.hidden_states
        return output

    def _check_attention_span(self, num_positions: int) -> None:
        """Check that every layer sees the whole sequence; padding can push the prompt out of a sliding window."""
        if self._attention_span is not None and num_positions > self._attention_span:
            raise SettingError(
                f"{num_positions} positions in a sequence, padding included, exceed the sliding window of {self.name} "
                f"({self._attention_span}): shorten the text, or batch sequences of one length"
            )

    def make_past_state(self, payloads: BatchPayloads, batch_size: int, growable: bool = False) -> PastState:
        """Build the state that precedes the first token of each sequence.

        Args:
            payloads: compiled payloads.
            batch_size: number of sequences.
            growable: use a growing cache, as generation needs.
        """
        payload_list = payloads if isinstance(payloads, Sequence) else [payloads] * batch_size
        frozen_prefixes = tuple(
            p.frozen_prefix for p in payload_list if isinstance(p, KVPrefix) and p.frozen_prefix is not None
        )
        if (
            growable
            or self._hidden_state_cache is None
            or len(frozen_prefixes) < batch_size
            or len({len(prefix.tensor) for prefix in frozen_prefixes}) > 1
        ):
            return self._make_past_from_layer(cache_layers.slice_layers(payloads, 0), batch_size, growable)
        first_layer = len(frozen_prefixes[0].tensor)
        past = self._make_past_from_layer(
            cache_layers.slice_layers(payloads, first_layer), batch_size, first_layer=first_layer
        )
        return replace(past, frozen_prefixes=frozen_prefixes)

    def _make_past_from_layer(
        self, payloads: BatchPayloads, batch_size: int, growable: bool = False, first_layer: int = 0
    ) -> PastState:
        """Build the state for the layers from `first_layer` on."""
        tensor, mask = cache_layers.batch_prefixes(payloads, batch_size, self.device)
        cache: Cache | None = None
        if growable:
            cache = cache_layers.make_growing_cache(tensor, mask, len(self.family.get_layers(self.network)), self.dtype)
        elif tensor is not None:
            cache = cache_layers.make_read_only_cache(tensor, first_layer)
        return PastState(cache, mask, stack_virtual_tokens(payloads), first_layer)

    def start_decoding(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], payloads: BatchPayloads
    ) -> DecodingState:
        """Read the sequences behind their compiled payloads into a growing cache."""
        return self._make_decoding_state(
            input_ids, attention_mask, self.make_past_state(payloads, input_ids.shape[0], growable=True)
        )

    def _make_decoding_state(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], past: PastState
    ) -> DecodingState:
        last = attention_mask.sum(dim=1) - 1
        is_last = torch.arange(attention_mask.shape[1], device=attention_mask.device) == last.unsqueeze(1)
        hidden = self.forward_with_past(input_ids, attention_mask, past, is_last)[torch.arange(len(last)), last]
        extended = past.extend_mask(attention_mask)
        return DecodingState(
            hidden,
            lambda token_ids: self._make_decoding_state(
                token_ids.unsqueeze(1), attention_mask.new_ones(len(last), 1), extended
            ),
        )

    def compute_kv(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """Compute the keys and values of one sequence that consists of these embeddings, with gradient."""
        layers = [CapturingCacheLayer() for _ in self.family.get_layers(self.network)]
        P = embeddings.shape[0]
        self.family.get_backbone(self.network)(
            inputs_embeds=embeddings.to(self.dtype).unsqueeze(0),
            attention_mask=torch.ones(1, P, dtype=torch.long, device=self.device),
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
        )
        return torch.stack([layer.captured_kv for layer in layers])

    def _append_tokens(self, prefix: KVPrefix, token_ids: Sequence[int]) -> KVPrefix:
        """Append the keys and values of tokens that all sequences begin with."""
        if not token_ids:
            return prefix
        extended = self._append_embeddings(prefix, self.embed_tokens(torch.tensor([token_ids], device=self.device))[0])
        return replace(extended, num_shared_tokens=prefix.num_shared_tokens + len(token_ids))

    def _append_embeddings(self, prefix: KVPrefix, embeddings: Float[Tensor, "T E"]) -> KVPrefix:
        """Append the keys and values that embeddings after the prefix produce."""
        layers = [PrefixCapturingCacheLayer(keys, values) for keys, values in prefix.tensor.unsqueeze(2)]
        past = PastState(Cache(layers=list(layers)), cache_layers.broadcast_prefix(prefix, 1)[1])
        mask = torch.ones(1, len(embeddings), dtype=torch.bool, device=self.device)
        self._forward_layers(past, embeddings.to(self.dtype).unsqueeze(0), mask)
        appended = torch.stack([layer.captured_kv for layer in layers]).to(prefix.tensor.dtype)
        return replace(prefix, tensor=torch.cat([prefix.tensor, appended], dim=3))

    def compute_first_layer_values(self, token_ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """Compute the first layer's values, `[N, G·D]`, of N separate tokens, without running other layers."""
        layer = StoppingCacheLayer()
        with suppress(StopForward):
            self.family.get_backbone(self.network)(
                inputs_embeds=self.embed_tokens(token_ids.unsqueeze(1)),
                attention_mask=torch.ones(len(token_ids), 1, dtype=torch.long, device=self.device),
                past_key_values=Cache(layers=[layer]),
                use_cache=True,
            )
        assert layer.values is not None
        return layer.values.flatten(1).float()

    def compile(self, payload: Payload) -> Payload:
        """Compile a payload that precedes the text into a KV prefix: one forward pass, with gradient."""
        match payload:
            case PromptEmbeddings(placement=Placement.AFTER_TEXT | Placement.IN_TEMPLATE):
                return payload
            case PromptEmbeddings(placement=Placement.AFTER_BOS):
                embeddings = torch.cat([self._embed_bos().to(payload.tensor.dtype), payload.tensor])
                return KVPrefix(self.compute_kv(embeddings), payload.placement, has_bos=True)
            case PromptEmbeddings():
                return KVPrefix(self.compute_kv(payload.tensor), payload.placement)
            case KVPrefix(is_complete=False):
                bos = self.compute_kv(self._embed_bos()).to(payload.tensor.dtype)
                return KVPrefix(torch.cat([bos, payload.tensor], dim=3), payload.placement, has_bos=True)
        return payload

    def compile_incrementally(self, payload: Payload, compiled: Payload | None, num_tokens: int) -> Payload:
        """Compile further virtual tokens and append them to `compiled`: see `FrozenModel`."""
        if not isinstance(payload, PromptEmbeddings) or payload.placement not in (
            Placement.BEFORE,
            Placement.AFTER_BOS,
        ):
            return self.compile(payload)
        if compiled is None:
            return self.compile(payload.with_tensor(payload.tensor[:num_tokens]))
        assert isinstance(compiled, KVPrefix)
        first = compiled.num_virtual_tokens
        return self._append_embeddings(compiled, payload.tensor[first : first + num_tokens])

    def extend_prefix(self, payload: Payload | None, token_ids: Sequence[int]) -> Payload | None:
        """Append shared tokens to a prefix: see `FrozenModel`. A prefix with a frozen part stays unchanged.

        The frozen part is a key of the hidden-state cache, and the shared tokens differ from step to step.
        """
        match payload:
            case None:
                return KVPrefix(
                    self.compute_kv(self.embed_tokens(torch.tensor([token_ids], device=self.device))[0]),
                    num_shared_tokens=len(token_ids),
                )
            case KVPrefix(frozen_prefix=None):
                return self._append_tokens(payload, payload.apply_to_prompt(list(token_ids)))
        return payload

    def _embed_bos(self) -> Float[Tensor, "1 E"]:
        """Embed the BOS token; only called if the model has one (`prompts.check_placement`)."""
        return self.embed_tokens(torch.tensor([[self.prompt_tokenizer.bos_token_id]], device=self.device))[0]

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations: less memory, slower.

        transformers' own switch silently drops `past_key_values`, and with it a prefix. Here every layer is wrapped
        unchanged; the caches that training uses may be read twice.
        """
        for layer in self.family.get_layers(self.network):
            layer.forward = functools.partial(checkpoint, type(layer).forward.__get__(layer), use_reentrant=False)
        # A pruned last layer runs twice; its first run would be recomputed and stop early again.
        self._runs_layers_once = self._prunes_last_layer = False

    def pack_weights(self) -> None:
        """Convert weights to the memory layout in which this CPU multiplies them fastest, if one is known.

        The original weights are deleted, so the model cannot be trained afterwards.
        """
        if self._packed_lm_head is not None or self.missing_head_weights or not can_pack_weights(self.network):
            return
        _ = self.fingerprint, self.num_parameters  # cached from the original weights
        pack_layers(self.family.get_layers(self.network), self.family.is_llama_like(self.network.config))
        weight, bias = self.network.get_output_embeddings().weight, self.family.get_head_bias(self.network)
        self._packed_lm_head = PackedLinear(weight, bias)
        move_to_huge_pages(self.network, self._packed_lm_head)

    def _apply_lm_head(self, hidden_states: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows V"]:
        return (
            super()._apply_lm_head(hidden_states)
            if self._packed_lm_head is None
            else self._packed_lm_head(hidden_states)
        )

    def apply_fsdp(self, device: torch.device) -> None:
        """Shard the layers with FSDP (Zhao et al. 2023, arXiv 2304.11277); embeddings are replicated."""
        from torch.distributed.device_mesh import init_device_mesh  # needed only for training on several devices
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        for layer in self.family.get_layers(self.network):
            fully_shard(layer, mesh=mesh)
        torch.nn.Module.to(self.network, device=device)
        # FSDP gathers a layer's weights once per completed run of the layer.
        self.is_sharded, self._runs_layers_once, self._prunes_last_layer = True, False, False


def _compute_config_digest(network: PreTrainedModel) -> str:
    """Hash what the network computes with besides its weights: configuration and attention implementation."""
    config = json.dumps(network.config.to_dict(), sort_keys=True, default=str)
    return f"{hashlib.sha256(config.encode()).hexdigest()[:16]} {network.config._attn_implementation}"
